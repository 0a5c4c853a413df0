//! Writes to a real folder.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{CWD, FileType, Mode, RenameFlags, mknodat, renameat_with};

use crate::file_sync::folder::Folder;
use crate::file_sync::plan::digest;

#[test]
fn a_file_is_written_with_its_folders_and_mode_and_known_again() {
    let root = tempfile::tempdir().expect("a folder");
    let folder = Folder::new(&root.path().join("new"), "id");
    let stamp = folder.write("a/b/x", b"text", Some(0o640)).expect("written");
    let path = root.path().join("new/a/b/x");
    assert_eq!(std::fs::read(&path).expect("read"), b"text");
    assert_eq!(folder.read("a/b/x", 5).expect("read"), None, "of another size, it is another");
    let found = folder.read("a/b/x", 4).expect("read").expect("a file");
    assert_eq!((found.written.digest, found.written.stamp, found.mode), (digest(b"text"), stamp, 0o640));
    assert!(folder.is_as_left("a/b/x", stamp));
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).expect("changed");
    assert!(!folder.is_as_left("a/b/x", stamp), "a change of mode alone is seen");
    assert!(folder.remove("a/b/x").expect("removed") && !folder.remove("a/b/x").expect("gone"));
    assert_eq!(folder.read("a/b/x", 4).expect("read"), None);
    assert!(!root.path().join("new/a").exists(), "nor are the folders that were made for it");
}

#[test]
fn no_symbolic_link_leads_a_write_out_of_the_folder() {
    let (root, outside) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    let folder = Folder::new(root.path(), "id");
    symlink(outside.path(), root.path().join("link")).expect("linked");
    let secret = outside.path().join("secret");
    std::fs::write(&secret, "untouched").expect("written");
    folder.write("link/x", b"1", None).expect_err("a link is no folder");
    assert!(!folder.remove("link/secret").expect("nothing of ours is there"));
    symlink(&secret, root.path().join("file")).expect("linked");
    assert_eq!(folder.read("file", 9).expect("read"), None, "a link is no file of ours");
    folder.write("file", b"2", None).expect("the link itself is replaced");
    assert_eq!(std::fs::read(&secret).expect("read"), b"untouched");
    assert_eq!(std::fs::read(root.path().join("file")).expect("read"), b"2");
    for path in ["../x", "a/../../x", ".", "..", "a/..", ""] {
        folder.write(path, b"3", None).expect_err(path);
    }
    assert_eq!(std::fs::read_dir(outside.path()).expect("listed").count(), 1);
}

#[test]
fn no_reader_sees_half_of_a_file() {
    let root = tempfile::tempdir().expect("a folder");
    let folder = Folder::new(root.path(), "id");
    let (path, over) = (root.path().join("x"), AtomicBool::new(false));
    folder.write("x", &vec![0; 64 * 1024], None).expect("written");
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut torn = 0;
            while !over.load(Ordering::Relaxed) {
                let bytes = std::fs::read(&path).expect("it is always there");
                torn += usize::from(bytes.len() != 64 * 1024 || bytes.iter().any(|byte| *byte != bytes[0]));
            }
            torn
        });
        for number in 1..=200_u8 {
            folder.write("x", &vec![number; 64 * 1024], None).expect("written");
        }
        over.store(true, Ordering::Relaxed);
        assert_eq!(reader.join().expect("no panic"), 0);
    });
    assert_eq!(std::fs::read_dir(root.path()).expect("listed").count(), 1, "no draft stays");
}

#[test]
fn a_write_that_fails_leaves_the_old_content_and_no_draft() {
    let root = tempfile::tempdir().expect("a folder");
    let folder = Folder::new(root.path(), "id");
    std::fs::create_dir(root.path().join("x")).expect("made");
    folder.write("x", b"1", None).expect_err("a folder is in the way");
    assert_eq!(std::fs::read_dir(root.path()).expect("listed").count(), 1);
    std::fs::write(root.path().join(".outrigger-id-7"), "half").expect("written");
    std::fs::write(root.path().join(".outrigger-other-7"), "another's").expect("written");
    folder.remove_drafts("id", "").expect("removed");
    assert!(!root.path().join(".outrigger-id-7").exists() && root.path().join(".outrigger-other-7").exists());
}

#[test]
fn no_race_leads_a_write_out_of_the_folder() {
    let (root, outside) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    let folder = Folder::new(root.path(), "id");
    let (way, link, over) = (root.path().join("way"), root.path().join("link"), AtomicBool::new(false));
    std::fs::create_dir(&way).expect("made");
    symlink(outside.path(), &link).expect("linked");
    std::thread::scope(|scope| {
        let attacker = scope.spawn(|| {
            let mut turns = 0;
            while !over.load(Ordering::Relaxed) {
                renameat_with(CWD, &way, CWD, &link, RenameFlags::EXCHANGE).expect("each in the other's place");
                turns += 1;
            }
            turns
        });
        let (mut written, mut refused) = (0, 0);
        for number in 0_u32.. {
            match folder.write("way/x", &number.to_le_bytes(), None).and_then(|_| folder.remove("way/x")) {
                Ok(_) => written += 1,
                Err(_) => refused += 1,
            }
            if number > 2_000 && written > 0 && refused > 0 || number > 200_000 {
                break;
            }
        }
        over.store(true, Ordering::Relaxed);
        assert!(attacker.join().expect("no panic") > 0 && written > 0 && refused > 0, "there was a race");
    });
    assert_eq!(std::fs::read_dir(outside.path()).expect("listed").count(), 0);
}

#[test]
fn what_is_put_where_our_own_files_go_stops_nothing() {
    let root = tempfile::tempdir().expect("a folder");
    let folder = Folder::new(root.path(), "id");
    for (name, what) in [("fifo", FileType::Fifo), ("socket", FileType::Socket)] {
        mknodat(CWD, root.path().join(name), what, Mode::RUSR | Mode::WUSR, 0).expect("made");
        folder.append(name, b"1").expect_err(name);
        assert_eq!(folder.read(name, 0).expect("no regular file"), None);
        folder.write(name, b"1", None).expect("it is replaced");
    }
}
