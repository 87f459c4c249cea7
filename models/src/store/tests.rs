use super::*;
use crate::check::Refusal;

fn name() -> ModelName {
    ModelName::new("parts").unwrap()
}

fn folder(version: &str, content: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("model.onnx"), content).unwrap();
    std::fs::create_dir(folder.path().join("samples")).unwrap();
    std::fs::write(folder.path().join("samples/a.png"), content).unwrap();
    let manifest = format!(
        "name = \"parts\"\nversion = \"{version}\"\nfile = \"model.onnx\"\ntask = {{ kind = \"tensor\" }}\n[[samples]]\nfile = \"samples/a.png\"\ntruth = \"x\"\n"
    );
    std::fs::write(folder.path().join("manifest.toml"), manifest).unwrap();
    folder
}

fn install(store: &Store, version: &str) -> Installed {
    store.install(&Source::Folder(folder(version, version).path().into()), &|_| Ok(())).unwrap()
}

fn store() -> (tempfile::TempDir, Store) {
    let root = tempfile::tempdir().unwrap();
    let store = Store::open(&root.path().join("models")).unwrap();
    (root, store)
}

#[test]
fn the_version_installed_last_serves_and_the_one_before_can_come_back() {
    let (_root, store) = store();
    install(&store, "1.0");
    let installed = install(&store, "2.0");
    assert_eq!((installed.version.as_str(), installed.versions.as_slice()), ("2.0", ["1.0".to_owned(), "2.0".to_owned()].as_slice()));
    assert_eq!(store.roll_back(&name()).unwrap(), "1.0");
    assert_eq!(store.list().unwrap()[0].version, "1.0");
    assert_eq!(store.roll_back(&name()).unwrap(), "2.0");
    store.activate(&name(), "1.0").unwrap();
    assert!(store.activate(&name(), "3.0").unwrap_err().to_string().contains("installed: 1.0, 2.0"));
}

#[test]
fn a_refused_model_leaves_nothing() {
    let (_root, store) = store();
    let source = folder("1.0", "x");
    let refuse = |staged: &Path| {
        assert!(staged.join("samples/a.png").exists());
        Err(Refusal { reason: "cosine 0.4".into() })
    };
    let error = store.install(&Source::Folder(source.path().into()), &refuse).unwrap_err();
    assert!(error.to_string().contains("cosine 0.4"));
    assert!(store.list().unwrap().is_empty());
    assert_eq!(files::entries(store.root()).unwrap(), [store.root().join(LOCK)]);
}

#[test]
fn what_a_killed_install_left_is_swept() {
    let (_root, store) = store();
    std::fs::create_dir(store.root().join(".staging-dead")).unwrap();
    let store = Store::open(store.root()).unwrap();
    assert!(!store.root().join(".staging-dead").exists());
}

#[test]
fn an_install_under_way_is_not_swept_by_another_process_that_opens_the_store() {
    let (_root, store) = store();
    let source = folder("1.0", "x");
    let check = |staged: &Path| {
        Store::open(store.root()).unwrap();
        assert!(staged.join("model.onnx").exists());
        Ok(())
    };
    store.install(&Source::Folder(source.path().into()), &check).unwrap();
    assert_eq!(store.list().unwrap().len(), 1);
}

#[test]
fn installs_at_the_same_time_all_succeed() {
    let (_root, store) = store();
    std::thread::scope(|scope| {
        // Two of each version: the second of a pair finds it installed, or loses the race for its place.
        for version in ["1.0", "2.0", "3.0", "1.0", "2.0", "3.0"] {
            let store = Store::open(store.root()).unwrap();
            scope.spawn(move || install(&store, version));
        }
    });
    let mut versions = store.list().unwrap().remove(0).versions;
    versions.sort();
    assert_eq!(versions, ["1.0", "2.0", "3.0"]);
    let left = files::entries(store.root()).unwrap();
    assert!(left.iter().all(|entry| !entry.to_string_lossy().contains(STAGING)), "{left:?}");
}

#[test]
fn a_damaged_version_is_replaced_by_installing_it_again() {
    let (_root, store) = store();
    let installed = install(&store, "1.0");
    std::fs::remove_file(installed.directory.join("model.onnx")).unwrap();
    install(&store, "1.0");
    assert!(installed.directory.join("model.onnx").exists());
    std::fs::write(installed.directory.join("manifest.toml"), "nonsense").unwrap();
    assert!(store.list().unwrap().is_empty());
    install(&store, "1.0");
    assert_eq!(store.list().unwrap().len(), 1);
}

#[test]
fn a_changed_file_under_the_same_version_is_noticed_without_digests() {
    let (_root, store) = store();
    install(&store, "1.0");
    let retrained = folder("1.0", "other weights");
    let again = store.install(&Source::Folder(retrained.path().into()), &|_| Ok(()));
    assert!(matches!(again, Err(StoreError::Exists { .. })));
}

#[test]
fn what_is_hidden_stays_behind_and_what_is_no_file_is_refused() {
    let (_root, store) = store();
    let source = folder("1.0", "x");
    std::fs::create_dir(source.path().join(".git")).unwrap();
    std::fs::write(source.path().join(".git/config"), "x").unwrap();
    let installed = store.install(&Source::Folder(source.path().into()), &|_| Ok(())).unwrap();
    assert!(!installed.directory.join(".git").exists());
    let source = folder("2.0", "x");
    rustix::fs::mkfifoat(rustix::fs::CWD, source.path().join("pipe"), rustix::fs::Mode::RWXU).unwrap();
    let error = store.install(&Source::Folder(source.path().into()), &|_| Ok(())).unwrap_err();
    assert!(error.to_string().contains("pipe is no regular file"), "{error}");
}

#[test]
fn what_the_check_writes_stays_with_the_version() {
    let (_root, store) = store();
    let report = |staged: &Path| {
        std::fs::write(staged.join("check.json"), "{}").unwrap();
        Ok(())
    };
    let installed = store.install(&Source::Folder(folder("1.0", "x").path().into()), &report).unwrap();
    assert!(installed.directory.join("check.json").exists());
}

#[test]
fn a_disk_that_refuses_is_named() {
    let full = StoreError::Disk { path: "/store".into(), what: "copying", source: std::io::ErrorKind::StorageFull.into() };
    assert!(full.to_string().starts_with("/store: copying failed") && full.to_string().contains("make room"), "{full}");
    let file = tempfile::NamedTempFile::new().unwrap();
    let error = Store::open(&file.path().join("models")).unwrap_err().to_string();
    assert!(error.contains("making the store failed") && error.contains(file.path().to_str().unwrap()), "{error}");
}

#[test]
fn links_made_by_hand_lead_nowhere_else() {
    let (_root, store) = store();
    install(&store, "1.0");
    std::os::unix::fs::symlink("../../elsewhere", store.root().join("parts/previous")).unwrap();
    assert!(matches!(store.roll_back(&name()), Err(StoreError::NoPrevious(_))));
    store.quarantine(&name(), "1.0").unwrap();
    assert_eq!(store.installed(&name()).unwrap().version, "1.0");
}

#[test]
fn the_same_again_changes_nothing_and_other_content_is_refused() {
    let (_root, store) = store();
    install(&store, "1.0");
    let never = |_: &Path| panic!("it is installed already");
    store.install(&Source::Folder(folder("1.0", "1.0").path().into()), &never).unwrap();
    let other = folder("1.0", "1.0");
    std::fs::write(
        other.path().join("manifest.toml"),
        std::fs::read_to_string(other.path().join("manifest.toml")).unwrap() + "[batch]\nmax = 3\n",
    )
    .unwrap();
    assert!(matches!(store.install(&Source::Folder(other.path().into()), &|_| Ok(())), Err(StoreError::Exists { .. })));
}

#[test]
fn a_single_onnx_file_is_a_model() {
    let (_root, store) = store();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("My Net.onnx");
    std::fs::write(&file, "net").unwrap();
    let installed = store.install(&Source::Folder(file.clone()), &|_| Ok(())).unwrap();
    assert_eq!((installed.name.as_str(), installed.version.len(), installed.manifest.file.as_str()), ("my-net", 12, "My Net.onnx"));
    let files = vec![("net.onnx".to_owned(), File::open(&file).unwrap())];
    let wished = Some(ModelName::new("other").unwrap());
    assert_eq!(store.install(&Source::Files { name: wished, files }, &|_| Ok(())).unwrap().name.as_str(), "other");
    let escaping = vec![("../net.onnx".to_owned(), File::open(&file).unwrap())];
    assert!(store.install(&Source::Files { name: None, files: escaping }, &|_| Ok(())).unwrap_err().to_string().contains("inside"));
}

#[test]
fn a_link_out_of_the_folder_is_refused() {
    let (_root, store) = store();
    let source = folder("1.0", "x");
    std::os::unix::fs::symlink("/etc/hostname", source.path().join("samples/b.png")).unwrap();
    assert!(store.install(&Source::Folder(source.path().into()), &|_| Ok(())).unwrap_err().to_string().contains("leads out"));
}

#[test]
fn the_active_version_stays_and_the_whole_model_goes() {
    let (_root, store) = store();
    install(&store, "1.0");
    install(&store, "2.0");
    assert!(matches!(store.remove(&name(), Some("2.0")), Err(StoreError::Active { .. })));
    store.remove(&name(), Some("1.0")).unwrap();
    assert!(matches!(store.roll_back(&name()), Err(StoreError::NoPrevious(_))));
    store.remove(&name(), Some("2.0")).unwrap();
    assert!(matches!(store.remove(&name(), None), Err(StoreError::UnknownModel(_))));
}

#[test]
fn a_damaged_model_hides_no_other() {
    let (_root, store) = store();
    install(&store, "1.0");
    std::fs::create_dir_all(store.root().join("broken/1.0")).unwrap();
    std::fs::write(store.root().join("broken/1.0/manifest.toml"), "nonsense").unwrap();
    assert_eq!(store.list().unwrap().len(), 1);
}

#[test]
fn a_version_in_quarantine_gives_way_to_the_one_before() {
    let (_root, store) = store();
    install(&store, "1.0");
    install(&store, "2.0");
    store.quarantine(&name(), "2.0").unwrap();
    let installed = store.installed(&name()).unwrap();
    assert_eq!((installed.version.as_str(), installed.quarantined), ("1.0", false));
    store.quarantine(&name(), "1.0").unwrap();
    assert!(store.installed(&name()).unwrap().quarantined);
    store.activate(&name(), "1.0").unwrap();
    assert!(!store.installed(&name()).unwrap().quarantined);
    store.quarantine(&name(), "2.0").unwrap();
    assert_eq!(store.installed(&name()).unwrap().version, "1.0", "putting aside what does not serve changes nothing");
}

#[test]
fn points_are_kept() {
    let (_root, store) = store();
    install(&store, "1.0");
    assert!(store.load_points(&name(), "1.0").is_err());
    let points = [Point { batch: 4, threads: 2, latency_us: 10, cpu_us_per_item: 5 }];
    store.save_points(&name(), "1.0", &points).unwrap();
    assert_eq!(store.load_points(&name(), "1.0").unwrap(), points);
}
