//! TLS, mutual TLS and passwords.

use crate::home;
use anyhow::{Context, ensure};
use hearth_tests::broker::Broker;
use hearth_tests::daemon::Home;
use std::path::Path;
use std::process::{Command, Stdio};

/// Runs `openssl` in a folder.
fn openssl(folder: &Path, arguments: &str) -> anyhow::Result<()> {
    let done = Command::new("openssl").args(arguments.split(' ')).current_dir(folder).stderr(Stdio::null()).stdout(Stdio::null()).status();
    ensure!(done.context("openssl is not installed")?.success(), "openssl {arguments} failed");
    Ok(())
}

/// An authority, and a certificate of the broker and of the daemon signed by it.
fn certificates(folder: &Path) -> anyhow::Result<()> {
    openssl(folder, "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=authority -keyout ca.key -out ca.pem")?;
    std::fs::write(folder.join("broker.ext"), "subjectAltName=IP:127.0.0.1\n")?;
    std::fs::write(folder.join("daemon.ext"), "extendedKeyUsage=clientAuth\n")?;
    for name in ["broker", "daemon"] {
        openssl(
            folder,
            &format!("req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN={name} -keyout {name}.key -out {name}.csr"),
        )?;
        openssl(
            folder,
            &format!("x509 -req -in {name}.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile {name}.ext -out {name}.pem"),
        )?;
    }
    Ok(())
}

fn tls_broker(lines: &'static str) -> anyhow::Result<Broker> {
    Broker::start_with(|folder| {
        certificates(folder)?;
        let file = |name: &str| folder.join(name).display().to_string();
        Ok(format!("cafile {}\ncertfile {}\nkeyfile {}\n{lines}", file("ca.pem"), file("broker.pem"), file("broker.key")))
    })
}

/// The daemon's configuration for this broker.
fn section(broker: &Broker, lines: &str) -> String {
    format!("[dbus]\nbus = \"none\"\n[mqtt]\nurl = \"mqtts://127.0.0.1:{}\"\nca_file = {:?}\n{lines}", broker.port(), broker.path("ca.pem"))
}

/// Waits until all of the daemon's sessions that it should have are subscribed.
async fn subscribed(broker: &Broker) -> anyhow::Result<()> {
    broker.logged("Received SUBSCRIBE from hearthd-test-infer", 1).await?;
    broker.logged("Received SUBSCRIBE from hearthd-test-chat", 1).await?;
    broker.logged("Received SUBSCRIBE from hearthd-test-control", 1).await
}

#[tokio::test]
async fn the_daemon_trusts_the_broker_that_its_authority_signed() -> anyhow::Result<()> {
    let broker = tls_broker("allow_anonymous true\n")?;
    let home = home()?;
    let _daemon = home.start(&section(&broker, ""))?;
    subscribed(&broker).await
}

#[tokio::test]
async fn a_broker_signed_by_somebody_else_gets_nothing() -> anyhow::Result<()> {
    let (broker, other) = (tls_broker("allow_anonymous true\n")?, tls_broker("")?);
    let home = home()?;
    let wrong = section(&broker, "").replace(&broker.path("ca.pem").display().to_string(), &other.path("ca.pem").display().to_string());
    let _daemon = home.start(&wrong)?;
    broker.logged("OpenSSL Error", 2).await
}

#[tokio::test]
async fn each_proves_who_it_is_with_mutual_tls() -> anyhow::Result<()> {
    let broker = tls_broker("require_certificate true\nuse_identity_as_username true\n")?;
    let identity = format!("certificate_file = {:?}\nkey_file = {:?}\n", broker.path("daemon.pem"), broker.path("daemon.key"));
    let home = home()?;
    {
        let _nobody = home.start(&section(&broker, ""))?;
        broker.logged("OpenSSL Error", 1).await?;
    }
    let _daemon = home.start(&section(&broker, &identity))?;
    subscribed(&broker).await?;
    broker.logged("u'daemon'", 2).await
}

#[tokio::test]
async fn a_password_lets_the_daemon_in_and_a_wrong_one_does_not() -> anyhow::Result<()> {
    let broker = Broker::start_with(|folder| {
        let file = folder.join("passwords");
        std::fs::write(&file, "")?;
        let set = Command::new("mosquitto_passwd").arg("-b").arg(&file).args(["hearth", "right"]).status();
        ensure!(set.context("mosquitto_passwd is not installed")?.success(), "mosquitto_passwd failed");
        Ok(format!("password_file {}\n", file.display()))
    })?;
    let start = |home: &Home, password: &str| {
        std::fs::write(home.path("password"), password)?;
        home.start(&format!("{}username = \"hearth\"\npassword_file = {:?}\n", broker.section(), home.path("password")))
    };
    let home = home()?;
    {
        let _wrong = start(&home, "wrong\n")?;
        broker.logged("Sending CONNACK to 127.0.0.1 (0, 135)", 2).await?;
    }
    let _right = start(&home, "right\n")?;
    subscribed(&broker).await
}
