//! A container of a Pod, run on this machine like the kubelet would: with its arguments, environment, user and files, in the folder
//! of its image. It shares the machine's network.

use std::{
    fs::{self, Permissions},
    os::unix::fs::{MetadataExt, PermissionsExt, symlink},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail, ensure};
use k8s_openapi::api::{
    authentication::v1::TokenRequest,
    core::v1::{
        ConfigMap, EnvVar, KeyToPath, Pod, Secret, SecurityContext, ServiceAccount, ServiceAccountTokenProjection,
        Volume, VolumeProjection,
    },
};
use kube::{Api, Client, ResourceExt, api::PostParams};
use serde_json::json;

use crate::{Log, Process};

/// An image: a folder, and settings from its Dockerfile.
#[derive(Debug, Clone)]
pub struct Image {
    /// The folder with its files, which is not changed.
    pub folder: PathBuf,
    /// Its `ENTRYPOINT`.
    pub entrypoint: Vec<String>,
    /// Its `USER`.
    pub user: u32,
}

/// A running container. Dropping it kills it.
#[derive(Debug)]
pub struct RunningContainer {
    /// The process.
    pub process: Process,
    volumes: Vec<(PathBuf, PathBuf)>,
}

/// Files below the container's folder that it may write to, or that come from the API server.
struct Mount {
    path: PathBuf,
    source: PathBuf,
    writable: bool,
    mode: u32,
    files: Vec<(String, Vec<u8>)>,
}

/// The kind of an object with keys.
#[derive(Clone, Copy)]
enum Source {
    ConfigMap,
    Secret,
}

impl Image {
    /// The image of this stage in a Dockerfile, with its files in `folder`.
    ///
    /// # Errors
    /// When the stage has no numeric `USER`, or no `ENTRYPOINT` list.
    pub fn of_stage(dockerfile: &str, stage: &str, folder: &Path) -> Result<Self> {
        let from = format!("FROM scratch AS {stage}\n");
        let (_, after) = dockerfile.split_once(&from).with_context(|| format!("there is no stage {stage}"))?;
        let stage = after.split("\nFROM ").next().unwrap_or_default();
        let word = |word: &str| stage.lines().find_map(|line| line.strip_prefix(word));
        let user = word("USER ").and_then(|user| user.split(':').next()).context("no USER")?;
        let user = user.parse().context("USER is no number")?;
        let entrypoint = serde_json::from_str(word("ENTRYPOINT ").context("no ENTRYPOINT")?)?;
        Ok(Self { folder: folder.to_owned(), entrypoint, user })
    }

    /// Adds the libraries that a program in the image needs. A static program needs none.
    ///
    /// # Errors
    /// When `ldd` fails, or a file cannot be copied.
    pub fn add_libraries(&self, program: &Path) -> Result<()> {
        let listed = Command::new("ldd").arg(program).output().context("ldd cannot be run")?;
        let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
        for library in listed.split_whitespace().filter(|word| word.starts_with('/')) {
            let to = below(&self.folder, Path::new(library));
            fs::create_dir_all(to.parent().context("no folder")?)?;
            fs::copy(library, &to).with_context(|| format!("{library} cannot be copied"))?;
        }
        Ok(())
    }
}

impl RunningContainer {
    /// Returns the path on this machine for a path in the container's volumes.
    ///
    /// # Errors
    /// When no volume is mounted there.
    pub fn path(&self, inside: &str) -> Result<PathBuf> {
        let below = |(at, source): &(PathBuf, PathBuf)| Some(source.join(Path::new(inside).strip_prefix(at).ok()?));
        self.volumes.iter().find_map(below).with_context(|| format!("{inside} is in no volume"))
    }
}

/// Runs the first container of a Pod in a copy of its image at `folder`, with the container's environment and these variables. A
/// read-only root filesystem is respected. Mounts end with the process.
pub(crate) async fn run(
    client: &Client,
    api_server: (&str, u16),
    pod: &Pod,
    image: &Image,
    folder: &Path,
    variables: &[(&str, &str)],
) -> Result<RunningContainer> {
    let (command, volumes) = command(client, api_server, pod, image, folder, variables).await?;
    let process = Process::start(&command, &Log::File(folder.with_extension("log")))?;
    Ok(RunningContainer { process, volumes })
}

/// Returns its command, and where volumes are inside and outside.
async fn command(
    client: &Client,
    api_server: (&str, u16),
    pod: &Pod,
    image: &Image,
    folder: &Path,
    variables: &[(&str, &str)],
) -> Result<(Command, Vec<(PathBuf, PathBuf)>)> {
    let spec = pod.spec.as_ref().context("a Pod without spec")?;
    let container = spec.containers.first().context("a Pod without containers")?;
    ensure!(
        container.env_from.is_none() && container.lifecycle.is_none() && container.working_dir.is_none(),
        "envFrom, lifecycle and workingDir are not known here"
    );
    copy(&image.folder, folder)?;
    let mut mounts = Vec::new();
    for mounted in container.volume_mounts.iter().flatten() {
        let volume = spec.volumes.iter().flatten().find(|volume| volume.name == mounted.name);
        let volume = volume.with_context(|| format!("there is no volume {}", mounted.name))?;
        ensure!(mounted.sub_path.is_none(), "{}: subPath is not known here", mounted.name);
        mounts.push(Mount {
            path: PathBuf::from(&mounted.mount_path),
            source: folder.with_extension(format!("volume-{}", mounts.len())),
            writable: volume.empty_dir.is_some(),
            mode: mode(volume)?,
            files: files(client, pod, volume).await?,
        });
    }
    let of_pod = spec.security_context.as_ref();
    let none = SecurityContext::default();
    let security = container.security_context.as_ref().unwrap_or(&none);
    let user = security.run_as_user.or(of_pod.and_then(|context| context.run_as_user));
    let user = user.map_or(Ok(image.user), u32::try_from).context("runAsUser")?;
    let not_root = security.run_as_non_root.or(of_pod.and_then(|context| context.run_as_non_root)) == Some(true);
    ensure!(user != 0 || !not_root, "the image's user is root, and runAsNonRoot is set");

    let script = script(folder, &mounts, security.read_only_root_filesystem == Some(true))?;
    let volumes = mounts.into_iter().map(|mount| (mount.path, mount.source)).collect();
    // A user other than root can be root in a user namespace, which has no other users.
    let root = fs::metadata("/proc/self")?.uid() == 0;
    let mut command = Command::new("unshare");
    command.args(if root { &["--mount"][..] } else { &["--map-root-user", "--mount"] });
    command.args(["sh", "-c", &script, "container", "PATH=/usr/sbin:/usr/bin:/sbin:/bin"]);
    command.arg(format!("KUBERNETES_SERVICE_HOST={}", api_server.0));
    command.arg(format!("KUBERNETES_SERVICE_PORT={}", api_server.1));
    for variable in container.env.iter().flatten() {
        command.arg(format!("{}={}", variable.name, value(pod, variable)?));
    }
    command.args(variables.iter().map(|(name, value)| format!("{name}={value}")));
    command.arg("chroot");
    if root {
        command.arg(format!("--userspec={user}:{user}"));
    }
    command.arg(folder);
    command.args(container.command.as_ref().unwrap_or(&image.entrypoint)).args(container.args.iter().flatten());
    Ok((command, volumes))
}

/// Mounts everything in the container's folder, then runs the given command with only that environment. Creates the
/// files of the volumes.
fn script(folder: &Path, mounts: &[Mount], read_only: bool) -> Result<String> {
    let root = quoted(folder);
    let mut lines = vec!["set -e".to_owned(), format!("mount --bind {root} {root}")];
    for name in ["proc", "dev", "etc/hosts", "etc/resolv.conf"] {
        let to = folder.join(name);
        if Path::new("/").join(name).is_dir() {
            fs::create_dir_all(&to)?;
        } else {
            fs::write(&to, "")?;
        }
        lines.push(format!("mount --rbind /{name} {root}/{name}"));
    }
    for Mount { path, source, writable, mode, files } in mounts {
        let to = below(folder, path);
        fs::create_dir_all(source)?;
        fs::create_dir_all(&to)?;
        write(source, files, *mode)?;
        let to = quoted(&to);
        lines.push(format!("mount --bind {} {to}", quoted(source)));
        lines.push(if *writable { format!("chmod 0777 {to}") } else { format!("mount -o remount,bind,ro {to}") });
    }
    if read_only {
        lines.push(format!("mount -o remount,bind,ro {root}"));
    }
    lines.push("exec env -i \"$@\"".to_owned());
    Ok(lines.join("\n"))
}

/// Copies the image's folder with hard links to its files.
fn copy(from: &Path, to: &Path) -> Result<()> {
    let copied = Command::new("cp").arg("-al").arg(from).arg(to).output()?;
    let copied =
        if copied.status.success() { copied } else { Command::new("cp").arg("-a").arg(from).arg(to).output()? };
    ensure!(copied.status.success(), "{}", String::from_utf8_lossy(&copied.stderr));
    Ok(())
}

/// Returns the permissions of the files in a volume.
fn mode(volume: &Volume) -> Result<u32> {
    let given = [
        volume.config_map.as_ref().and_then(|map| map.default_mode),
        volume.secret.as_ref().and_then(|secret| secret.default_mode),
        volume.projected.as_ref().and_then(|projected| projected.default_mode),
    ];
    Ok(given.into_iter().flatten().next().map_or(Ok(0o644), u32::try_from)?)
}

/// Returns the value of a variable.
fn value(pod: &Pod, variable: &EnvVar) -> Result<String> {
    let Some(from) = &variable.value_from else { return Ok(variable.value.clone().unwrap_or_default()) };
    let path = from.field_ref.as_ref().map(|field| field.field_path.as_str());
    field(pod, path.with_context(|| format!("{}: only fieldRef is known here", variable.name))?)
}

/// Returns a field of a Pod.
fn field(pod: &Pod, path: &str) -> Result<String> {
    Ok(match path {
        "metadata.name" => pod.name_any(),
        "metadata.namespace" => pod.namespace().unwrap_or_default(),
        "metadata.uid" => pod.uid().unwrap_or_default(),
        "spec.nodeName" => pod.spec.as_ref().and_then(|spec| spec.node_name.clone()).unwrap_or_default(),
        _ => bail!("the field {path} is not known here"),
    })
}

/// Returns the content of a volume by relative paths.
async fn files(client: &Client, pod: &Pod, volume: &Volume) -> Result<Vec<(String, Vec<u8>)>> {
    if volume.empty_dir.is_some() {
        return Ok(Vec::new());
    }
    let namespace = pod.namespace().unwrap_or_default();
    if let Some(secret) = &volume.secret {
        let name = secret.secret_name.as_deref().unwrap_or_default();
        return keys(client, &namespace, Source::Secret, name, secret.items.as_deref()).await;
    }
    if let Some(map) = &volume.config_map {
        return keys(client, &namespace, Source::ConfigMap, &map.name, map.items.as_deref()).await;
    }
    let projected =
        volume.projected.as_ref().with_context(|| format!("the kind of volume {} is not known", volume.name))?;
    let mut files = Vec::new();
    for source in projected.sources.iter().flatten() {
        files.extend(projection(client, pod, source).await?);
    }
    Ok(files)
}

/// Returns the files of a projected volume's source.
async fn projection(client: &Client, pod: &Pod, source: &VolumeProjection) -> Result<Vec<(String, Vec<u8>)>> {
    let namespace = pod.namespace().unwrap_or_default();
    if let Some(of) = &source.service_account_token {
        return Ok(vec![(of.path.clone(), token(client, pod, of).await?.into_bytes())]);
    }
    if let Some(map) = &source.config_map {
        return keys(client, &namespace, Source::ConfigMap, &map.name, map.items.as_deref()).await;
    }
    if let Some(secret) = &source.secret {
        return keys(client, &namespace, Source::Secret, &secret.name, secret.items.as_deref()).await;
    }
    let downward = source.downward_api.as_ref().context("a kind of projection that is not known here")?;
    let items = downward.items.iter().flatten().map(|item| {
        let path = item.field_ref.as_ref().context("only fieldRef is known here")?;
        Ok((item.path.clone(), field(pod, &path.field_path)?.into_bytes()))
    });
    items.collect()
}

/// Returns a token of the Pod's ServiceAccount that is bound to the Pod.
async fn token(client: &Client, pod: &Pod, of: &ServiceAccountTokenProjection) -> Result<String> {
    let account = pod.spec.as_ref().and_then(|spec| spec.service_account_name.clone()).unwrap_or_default();
    let bound = json!({"apiVersion": "v1", "kind": "Pod", "name": pod.name_any(), "uid": pod.uid()});
    let audiences: Vec<_> = of.audience.iter().collect();
    let spec = json!({"audiences": audiences, "boundObjectRef": bound, "expirationSeconds": of.expiration_seconds});
    let request: TokenRequest = serde_json::from_value(json!({"spec": spec}))?;
    let accounts = Api::<ServiceAccount>::namespaced(client.clone(), &pod.namespace().unwrap_or_default());
    let answer = accounts.create_token_request(&account, &PostParams::default(), &request).await;
    let answer = answer.with_context(|| format!("no token for ServiceAccount {account}"))?;
    Ok(answer.status.context("an answer without a token")?.token)
}

/// Returns the keys of an object as files; with `items`, only those.
async fn keys(
    client: &Client,
    namespace: &str,
    source: Source,
    name: &str,
    items: Option<&[KeyToPath]>,
) -> Result<Vec<(String, Vec<u8>)>> {
    let all: Vec<(String, Vec<u8>)> = match source {
        Source::ConfigMap => {
            let map = Api::<ConfigMap>::namespaced(client.clone(), namespace).get(name).await?;
            let text = map.data.into_iter().flatten().map(|(key, text)| (key, text.into_bytes()));
            text.chain(map.binary_data.into_iter().flatten().map(|(key, bytes)| (key, bytes.0))).collect()
        }
        Source::Secret => {
            let secret = Api::<Secret>::namespaced(client.clone(), namespace).get(name).await?;
            secret.data.into_iter().flatten().map(|(key, bytes)| (key, bytes.0)).collect()
        }
    };
    let Some(items) = items else { return Ok(all) };
    let chosen = items.iter().map(|item| {
        let found =
            all.iter().find(|(key, _)| *key == item.key).with_context(|| format!("{name} has no {}", item.key))?;
        Ok((item.path.clone(), found.1.clone()))
    });
    chosen.collect()
}

/// Writes files as the kubelet does: in a folder behind a link, so that all change at once.
fn write(folder: &Path, files: &[(String, Vec<u8>)], mode: u32) -> Result<()> {
    if files.is_empty() {
        return Ok(());
    }
    let data = folder.join("..1");
    fs::create_dir_all(&data)?;
    symlink("..1", folder.join("..data"))?;
    for (path, bytes) in files {
        fs::write(data.join(path), bytes)?;
        fs::set_permissions(data.join(path), Permissions::from_mode(mode))?;
        symlink(Path::new("..data").join(path), folder.join(path))?;
    }
    Ok(())
}

/// Returns a path inside a folder that is used as root.
fn below(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap_or(path))
}

/// Quotes a path for the shell.
fn quoted(path: &Path) -> String {
    format!("'{}'", path.display().to_string().replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stage_says_user_and_entrypoint() {
        let dockerfile = "FROM x AS build\nUSER 1\n\nFROM scratch AS a\nCOPY --from=build /a /\nUSER 1000:1000\nENTRYPOINT [\"/bin/a\", \"b\"]\n\nFROM scratch AS c\nUSER root\n";
        let image = Image::of_stage(dockerfile, "a", Path::new("/f")).unwrap();
        assert_eq!((image.user, image.entrypoint), (1000, vec!["/bin/a".to_owned(), "b".to_owned()]));
        for (stage, problem) in [("b", "no stage b"), ("c", "USER is no number")] {
            let error = Image::of_stage(dockerfile, stage, Path::new("/f")).unwrap_err().to_string();
            assert!(error.contains(problem), "{error}");
        }
    }
}
