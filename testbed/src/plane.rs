//! A control plane on 127.0.0.1: etcd, kube-apiserver and optionally the components that run Deployments and Pods.

use std::{
    fmt::Debug,
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use k8s_openapi::api::{
    authentication::v1::TokenRequest,
    core::v1::{Namespace, Node, Pod, ServiceAccount},
};
use kube::{
    Api, Client, Config, ResourceExt,
    api::PostParams,
    config::{KubeConfigOptions, Kubeconfig},
};
use serde_json::json;
use tokio::sync::Mutex;

use crate::{
    Image, Kubectl, Log, Output, Process, RunningContainer, TestNamespace, container, credentials::Credentials, dump,
    folder::Folder, free_port, programs, stages::stages, wait_for,
};

/// The time limit for a component's start: about ten times the usual time on a busy machine.
const START: Duration = Duration::from_secs(90);

/// The running components.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Parts {
    /// etcd, kube-apiserver, kube-controller-manager, kube-scheduler, and kwok with one Node `n1`. Deployments get
    /// Pods, which become ready.
    #[default]
    Full,
    /// etcd and kube-apiserver. It starts and stores quickly, and nothing reacts. Pods need no ServiceAccount.
    ApiOnly,
}

/// The options of a control plane.
#[derive(Debug, Clone)]
pub struct Options {
    /// The running components. Default: all.
    pub parts: Parts,
    /// How long a running container takes to restart with another image. Default: 1 s.
    pub image_change: Duration,
    /// The prefix of images that cannot be pulled. Default: `unpullable/`.
    pub unpullable: String,
}

impl Default for Options {
    fn default() -> Self {
        Self { parts: Parts::Full, image_change: Duration::from_secs(1), unpullable: "unpullable/".to_owned() }
    }
}

impl From<Parts> for Options {
    fn from(parts: Parts) -> Self {
        Self { parts, ..Self::default() }
    }
}

/// A running control plane. Dropping it, or the end of this process, removes everything including its folder.
pub struct ControlPlane {
    parts: Parts,
    client: Client,
    kubectl: Kubectl,
    credentials: Credentials,
    api_server: Command,
    running: Mutex<Running>,
    /// Dropped after the processes that use it.
    folder: std::sync::Mutex<Folder>,
}

/// The processes in the order in which they are stopped.
#[derive(Default)]
struct Running {
    around: Vec<Process>,
    api_server: Option<Process>,
    etcd: Option<Process>,
}

impl Running {
    fn all(&mut self) -> impl Iterator<Item = &mut Process> {
        self.around.iter_mut().chain(&mut self.api_server).chain(&mut self.etcd)
    }
}

impl ControlPlane {
    /// Starts a control plane and waits until it is usable: the API server is ready, and with [`Parts::Full`] the
    /// ServiceAccount `default` and a ready Node `n1` exist.
    ///
    /// # Errors
    /// When a program is missing (`make testbed` builds them) or a component does not start. The error has its log.
    pub async fn start(options: impl Into<Options>) -> Result<Self> {
        let options = options.into();
        let folder = Folder::new()?;
        let port = free_port()?;
        let credentials = Credentials::write(folder.path(), port)?;
        let kubeconfig = Kubeconfig::read_from(&credentials.kubeconfig)?;
        let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
        let etcd_port = free_port()?;
        let plane = Self {
            parts: options.parts,
            client: Client::try_from(config)?,
            kubectl: Kubectl::new(&credentials.kubeconfig)?,
            api_server: api_server(options.parts, folder.path(), &credentials, port, etcd_port)?,
            credentials,
            running: Mutex::default(),
            folder: std::sync::Mutex::new(folder),
        };
        let started = async {
            plane.running.lock().await.etcd = Some(plane.spawn(&etcd(&plane.path("etcd"), etcd_port)?)?);
            plane.start_api_server().await?;
            if options.parts == Parts::Full {
                plane.start_around(&options).await?;
            }
            anyhow::Ok(())
        };
        match started.await {
            Ok(()) => Ok(plane),
            Err(error) => {
                let logs = dump::logs(&plane.folder());
                Err(error.context(format!("the control plane did not start; its logs end with\n{logs}")))
            }
        }
    }

    /// Returns the admin's client.
    #[must_use]
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// Returns the admin's kubeconfig file.
    #[must_use]
    pub fn kubeconfig(&self) -> &Path {
        &self.credentials.kubeconfig
    }

    /// Returns the program that [`kubectl`](Self::kubectl) runs.
    #[must_use]
    pub fn kubectl_program(&self) -> &Path {
        self.kubectl.program()
    }

    /// Writes a kubeconfig file for an existing ServiceAccount, with its RBAC permissions.
    ///
    /// # Errors
    /// When the ServiceAccount does not exist.
    pub async fn kubeconfig_of(&self, namespace: &str, service_account: &str) -> Result<PathBuf> {
        let request: TokenRequest =
            serde_json::from_value(json!({"spec": {"audiences": [], "expirationSeconds": 24 * 60 * 60}}))?;
        let token = Api::<ServiceAccount>::namespaced(self.client(), namespace)
            .create_token_request(service_account, &PostParams::default(), &request)
            .await
            .with_context(|| format!("no token for ServiceAccount {namespace}/{service_account}"))?
            .status
            .context("the API server answered without a token")?;
        self.credentials.write_kubeconfig(&format!("{namespace}-{service_account}"), &token.token)
    }

    /// Runs `kubectl ARGUMENTS` as the admin.
    ///
    /// # Errors
    /// As [`Kubectl::run`].
    pub async fn kubectl(&self, arguments: &[&str], stdin: Option<&str>) -> Result<Output> {
        self.kubectl.run(arguments, stdin).await
    }

    /// Runs `helm ARGUMENTS` as the admin.
    ///
    /// # Errors
    /// When helm has not been built, could not be run or did not end. A failure of the command itself is in the
    /// [`Output`].
    pub async fn helm(&self, arguments: &[&str]) -> Result<Output> {
        self.kubectl.helm(arguments).await
    }

    /// Runs `kubectl apply` with these objects. The default namespace is `default`.
    ///
    /// # Errors
    /// As [`Kubectl::apply`].
    pub async fn apply(&self, yaml: &str) -> Result<String> {
        self.kubectl.apply("default", yaml).await
    }

    /// Creates a namespace for one test.
    ///
    /// # Errors
    /// When the API server rejects it, or the namespace gets no ServiceAccount `default`.
    pub async fn namespace(&self, test: &str) -> Result<TestNamespace> {
        TestNamespace::create(test, self.client(), self.kubectl.clone(), self.parts == Parts::Full).await
    }

    /// Adds a Node and waits until it is ready.
    ///
    /// # Errors
    /// When the name is in use, or with [`Parts::ApiOnly`], which makes no Node ready.
    pub async fn add_node(&self, name: &str) -> Result<()> {
        let nodes = Api::<Node>::all(self.client());
        // The labels that a kubelet sets.
        let labels =
            json!({"kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64", "kubernetes.io/hostname": name});
        let node = serde_json::from_value(json!({"metadata": {"name": name, "labels": labels}}))?;
        nodes.create(&PostParams::default(), &node).await?;
        wait_for(&format!("Node {name} to be ready"), START, async || {
            let conditions = nodes.get(name).await?.status.unwrap_or_default().conditions.unwrap_or_default();
            Ok(conditions.iter().find(|condition| condition.type_ == "Ready" && condition.status == "True").cloned())
        })
        .await?;
        Ok(())
    }

    /// Installs Istio's CRDs from the module `istio.io/api`, and waits until they are served.
    ///
    /// # Errors
    /// When `make testbed` has not run, or kubectl failed.
    pub async fn install_istio_crds(&self) -> Result<()> {
        self.install_crds("Istio", "istio-crds.yaml").await
    }

    /// Installs cert-manager's CRDs, starts its controllers and its CA injector, and waits until an Issuer is ready. Also
    /// works with [`Parts::ApiOnly`]. It ends with the control plane.
    ///
    /// # Errors
    /// When `make testbed` has not run, or cert-manager does not start. Its log is `cert-manager.log`.
    pub async fn start_cert_manager(&self) -> Result<()> {
        self.install_crds("cert-manager", "cert-manager-crds.yaml").await?;
        let namespace = serde_json::from_value(json!({"metadata": {"name": "cert-manager"}}))?;
        Api::<Namespace>::all(self.client()).create(&PostParams::default(), &namespace).await?;
        let mut command = Command::new(programs::find("cert-manager")?);
        command.arg("--kubeconfig").arg(self.kubeconfig());
        let mut process = self.spawn(&command)?;
        let issuer = json!({
            "apiVersion": "cert-manager.io/v1", "kind": "Issuer", "metadata": {"name": "is-it-ready"},
            "spec": {"selfSigned": {}},
        });
        self.kubectl.apply("cert-manager", &issuer.to_string()).await?;
        let path = "jsonpath={.status.conditions[?(@.type=='Ready')].status}";
        let get = ["get", "issuers.cert-manager.io", "is-it-ready", "--namespace=cert-manager", "--output", path];
        let ended = wait_for("cert-manager to make an Issuer ready", START, async || {
            if let Some(status) = process.exited()? {
                return Ok(Some(Some(status)));
            }
            let ready = self.kubectl(&get, None).await?.ok()?;
            Ok((ready == "True").then_some(None))
        })
        .await?;
        if let Some(status) = ended {
            bail!("cert-manager ended: {status}");
        }
        self.running.lock().await.around.push(process);
        Ok(())
    }

    /// Installs the CRDs from a file next to the programs, and waits until they are served.
    async fn install_crds(&self, of: &str, file: &str) -> Result<()> {
        let path = programs::find(file)?.display().to_string();
        self.kubectl(&["apply", "--server-side", "-f", &path], None).await?.ok()?;
        // kubectl fails if a CRD has no conditions yet.
        let established = ["wait", "--for=condition=Established", "--timeout=60s", "-f", &path];
        let wait = async || Ok(Some(self.kubectl(&established, None).await?.ok()?));
        wait_for(&format!("the CRDs of {of} to be established"), START, wait).await?;
        Ok(())
    }

    /// Starts a program of the test, such as outrigger. Its log is kept and dumped with those of the control
    /// plane: `NAME.log`, with its file name as `NAME`. It ends when the [`Process`] is dropped.
    ///
    /// # Errors
    /// As [`Process::start`].
    pub fn spawn(&self, command: &Command) -> Result<Process> {
        let name = Path::new(command.get_program()).with_extension("log");
        let name = name.file_name().with_context(|| format!("{} is no program", name.display()))?;
        Process::start(command, &Log::File(self.path(name)))
    }

    /// Runs the first container of a Pod in the API server like the kubelet would: arguments, environment, user, token and other files
    /// are those of the Pod and the image. Only the network is this machine's; `variables` are for settings that differ because of that.
    /// Its log is `pod-NAME.log`.
    ///
    /// # Errors
    /// When the Pod has something unsupported, or the system does not permit mount and chroot, which require root.
    pub async fn run_container(
        &self,
        pod: &Pod,
        image: &Image,
        variables: &[(&str, &str)],
    ) -> Result<RunningContainer> {
        let folder = self.path(format!("pod-{}", pod.name_any()));
        let api_server = ("127.0.0.1", self.credentials.port);
        container::run(&self.client, api_server, pod, image, &folder, variables).await
    }

    /// Kills kube-apiserver. Its data is kept.
    pub async fn stop_api_server(&self) {
        self.running.lock().await.api_server = None;
    }

    /// Starts kube-apiserver, or restarts it after [`stop_api_server`](Self::stop_api_server), on the same port with
    /// the same data, and waits until it is ready.
    ///
    /// # Errors
    /// When it does not become ready.
    pub async fn start_api_server(&self) -> Result<()> {
        let mut running = self.running.lock().await;
        let api_server = running.api_server.insert(self.spawn(&self.api_server)?);
        wait_for("kube-apiserver to be ready", START, async || {
            if let Some(status) = api_server.exited()? {
                return Ok(Some(Err(status)));
            }
            let request = http::Request::get("/readyz").body(Vec::new())?;
            self.client.request_text(request).await?;
            Api::<Namespace>::all(self.client()).get("default").await?;
            Ok(Some(Ok(())))
        })
        .await?
        .map_err(|status| anyhow::anyhow!("kube-apiserver ended: {status}"))
    }

    /// Sends a signal to a component, given by its program's name: `STOP` suspends `kube-apiserver`, `CONT` resumes it.
    ///
    /// # Errors
    /// When it is not running.
    pub async fn signal(&self, component: &str, signal: &str) -> Result<()> {
        let mut running = self.running.lock().await;
        let Some(process) = running.all().find(|process| process.name() == component) else {
            bail!("{component} does not run");
        };
        process.signal(signal)
    }

    /// Returns the state for a failed test: the objects of the namespace, cluster-scoped objects of webhooks and
    /// SidecarSets, and the ends of all logs. Contents of Secrets are left out.
    pub async fn dump(&self, namespace: &str) -> String {
        let objects = dump::objects(&self.kubectl, namespace).await;
        format!("{objects}\n{}", dump::logs(&self.folder()))
    }

    /// Returns everything a program has written, one of the control plane or one started with [`spawn`](Self::spawn).
    ///
    /// # Errors
    /// When no program of this name was started.
    pub fn log(&self, program: &str) -> Result<String> {
        let path = self.path(format!("{program}.log"));
        let bytes = fs::read(&path).with_context(|| format!("{} cannot be read", path.display()))?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Keeps the folder with logs and data, and prints its path on standard error.
    pub fn keep_folder(&self) {
        self.folder.lock().unwrap_or_else(std::sync::PoisonError::into_inner).keep();
    }

    /// Kills everything, kube-apiserver before etcd. Dropping the control plane has the same effect.
    pub async fn stop(&self) {
        let running = std::mem::take(&mut *self.running.lock().await);
        drop(running);
    }

    fn folder(&self) -> PathBuf {
        self.folder.lock().unwrap_or_else(std::sync::PoisonError::into_inner).path().to_owned()
    }

    fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.folder().join(name)
    }

    /// Starts everything except etcd and kube-apiserver.
    async fn start_around(&self, options: &Options) -> Result<()> {
        let stages_file = self.path("stages.yaml");
        let of_kwok = fs::read_to_string(programs::find("kwok-stages.yaml")?)?;
        fs::write(&stages_file, stages(&of_kwok, options.image_change, &options.unpullable))?;

        let mut controllers = Command::new(programs::find("kube-controller-manager")?);
        controllers
            .arg("--kubeconfig")
            .arg(self.kubeconfig())
            .arg("--service-account-private-key-file")
            .arg(&self.credentials.service_account_key)
            .arg("--root-ca-file")
            .arg(&self.credentials.ca)
            // kwok sends no heartbeats, so node-lifecycle would consider every Node dead after 40 s.
            .arg("--controllers=*,-node-lifecycle-controller")
            .args(["--use-service-account-credentials=false", "--leader-elect=false", "--secure-port=0"])
            .args(["--kube-api-qps=500", "--kube-api-burst=1000"]);
        let mut scheduler = Command::new(programs::find("kube-scheduler")?);
        scheduler.arg("--kubeconfig").arg(self.kubeconfig()).args(["--leader-elect=false", "--secure-port=0"]);
        let mut kwok = Command::new(programs::find("kwok")?);
        kwok.arg("--kubeconfig")
            .arg(self.kubeconfig())
            .arg("--config")
            .arg(stages_file)
            .args(["--manage-all-nodes=true", "--node-ip=192.0.2.1"]);
        for command in [controllers, scheduler, kwok] {
            let process = self.spawn(&command)?;
            self.running.lock().await.around.push(process);
        }

        let accounts = Api::<ServiceAccount>::namespaced(self.client(), "default");
        wait_for("ServiceAccount default", START, async || Ok(accounts.get_opt("default").await?)).await?;
        self.add_node("n1").await
    }
}

impl Debug for ControlPlane {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("ControlPlane").field("parts", &self.parts).finish_non_exhaustive()
    }
}

fn etcd(data: &Path, port: u16) -> Result<Command> {
    let client = format!("http://127.0.0.1:{port}");
    let peer = format!("http://127.0.0.1:{}", free_port()?);
    let mut command = Command::new(programs::find("etcd")?);
    command
        .arg("--data-dir")
        .arg(data)
        .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
        .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
        .args(["--initial-cluster", &format!("default={peer}")])
        .args(["--unsafe-no-fsync", "--log-level=warn"]);
    Ok(command)
}

fn api_server(parts: Parts, folder: &Path, credentials: &Credentials, port: u16, etcd_port: u16) -> Result<Command> {
    // kwok makes the Node ready, and nothing would remove the taint that TaintNodesByCondition sets on new Nodes.
    let plugins = match parts {
        Parts::Full => "TaintNodesByCondition",
        Parts::ApiOnly => "TaintNodesByCondition,ServiceAccount",
    };
    let mut command = Command::new(programs::find("kube-apiserver")?);
    command
        .arg(format!("--etcd-servers=http://127.0.0.1:{etcd_port}"))
        .arg(format!("--secure-port={port}"))
        .arg("--bind-address=127.0.0.1")
        .arg("--cert-dir")
        .arg(folder)
        .arg("--tls-cert-file")
        .arg(&credentials.server_certificate)
        .arg("--tls-private-key-file")
        .arg(&credentials.server_key)
        .arg("--token-auth-file")
        .arg(&credentials.tokens)
        .arg("--service-account-issuer=https://kubernetes.default.svc")
        .arg("--service-account-signing-key-file")
        .arg(&credentials.service_account_key)
        .arg("--service-account-key-file")
        .arg(&credentials.service_account_public_key)
        .arg("--authorization-mode=RBAC")
        .arg(format!("--disable-admission-plugins={plugins}"))
        .args(["--allow-privileged=true", "--endpoint-reconciler-type=none"])
        // Tests of many kinds create Services: more than the 254 of a /24.
        .arg("--service-cluster-ip-range=10.96.0.0/12")
        .args(["--max-requests-inflight=3000", "--max-mutating-requests-inflight=1000"]);
    Ok(command)
}
