//! The real `hearthd`, with a configuration and a store of the test's own.

use anyhow::{Context, ensure};
use rustix::process::{Pid, Signal};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use tempfile::TempDir;

/// A program that is built beside the tests.
pub fn program(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("a running test has a path");
    let profile = test.ancestors().nth(2).expect("tests are in target/<profile>/deps");
    profile.join(name)
}

/// A folder for a daemon: configuration, store, runtime directory.
pub struct Home {
    folder: TempDir,
    node: String,
}

impl Home {
    /// An empty one, of a node called `test`.
    pub fn new() -> anyhow::Result<Home> {
        Home::named("test")
    }

    /// An empty one, of a node with this name.
    pub fn named(node: &str) -> anyhow::Result<Home> {
        let folder = tempfile::tempdir()?;
        std::fs::create_dir(folder.path().join("models"))?;
        Ok(Home { folder, node: node.to_owned() })
    }

    /// The store.
    pub fn store(&self) -> PathBuf {
        self.folder.path().join("models")
    }

    /// A path in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Puts a model into the store as if it had been installed: the folder with its manifest, active.
    pub fn put(&self, model: &str, version: &str, write: impl FnOnce(&Path) -> anyhow::Result<()>) -> anyhow::Result<()> {
        let directory = self.store().join(model).join(version);
        std::fs::create_dir_all(&directory)?;
        write(&directory)?;
        std::os::unix::fs::symlink(version, self.store().join(model).join("active"))?;
        Ok(())
    }

    /// Puts a bundled model into the store.
    pub fn put_bundled(&self, model: &str) -> anyhow::Result<()> {
        let bundled = hearth_models::bundled::all().into_iter().find(|bundled| bundled.manifest().name.as_str() == model);
        let bundled = bundled.with_context(|| format!("{model} is not bundled"))?;
        self.put(model, &bundled.manifest().version, |directory| Ok(bundled.write_to(directory)?))
    }

    /// Puts `talker` there: a language model of a few layers with random weights, which talks nonsense of its own.
    pub fn put_talker(&self) -> anyhow::Result<()> {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers/llm/fixtures/llama3-Q8_0.gguf");
        let manifest = "name = \"talker\"\nversion = \"1\"\nfile = \"talker.gguf\"\n\n[task]\nkind = \"chat\"\n";
        self.put("talker", "1", |directory| {
            std::fs::create_dir_all(directory)?;
            std::fs::write(directory.join("manifest.toml"), manifest)?;
            std::fs::copy(&file, directory.join("talker.gguf"))?;
            Ok(())
        })
    }

    /// Starts a daemon here. `sections` is the configuration but for the folders.
    pub fn start(&self, sections: &str) -> anyhow::Result<Hearthd> {
        self.start_with(sections, |command| command)
    }

    /// The same, with a word on how the program is run.
    pub fn start_with(&self, sections: &str, prepare: impl FnOnce(&mut Command) -> &mut Command) -> anyhow::Result<Hearthd> {
        let configuration = self.path("hearthd.toml");
        let folders = format!(
            "[node]\nname = {:?}\nruntime_directory = {:?}\nstate_directory = {1:?}\n[models]\ndirectory = {:?}\n",
            self.node,
            self.folder.path(),
            self.store()
        );
        std::fs::write(&configuration, folders + sections)?;
        let hearthd = program("hearthd");
        ensure!(hearthd.exists(), "{} is not built: cargo build -p hearthd", hearthd.display());
        let mut command = Command::new(hearthd);
        command.arg("--config").arg(&configuration);
        let child = prepare(&mut command).spawn().context("hearthd cannot be started")?;
        Ok(Hearthd { child })
    }
}

/// A running daemon; killed with the value.
pub struct Hearthd {
    child: Child,
}

impl Hearthd {
    /// The number of its process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        let pid = Pid::from_raw(self.id().cast_signed()).context("a child has a pid")?;
        Ok(rustix::process::kill_process(pid, signal)?)
    }

    /// Waits for its end.
    pub fn wait(&mut self) -> anyhow::Result<ExitStatus> {
        Ok(self.child.wait()?)
    }
}

impl Drop for Hearthd {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Debian's Python, which has the clients (paho-mqtt, dbus), with a script of `tests/clients/`.
pub fn python(script: &str) -> Command {
    let mut command = Command::new("/usr/bin/python3");
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("clients").join(script));
    command
}
