//! The connection itself: quick, and back after whatever the broker does.

use crate::{Site, home};
use hearth_tests::broker::Broker;
use hearth_tests::client::{self, Client, tensor};
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::PublishProperties;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::time::{Duration, Instant};

#[tokio::test]
async fn an_answer_does_not_wait_for_a_delayed_acknowledgement() -> anyhow::Result<()> {
    // At the broker's end it is the broker's to set: it sends the client PUBACK and answer, and holds back the second.
    let site = Site::with("set_tcp_nodelay true\n", "").await?;
    let mut client = site.client().await?;
    let mut took = Vec::new();
    for _ in 0..31 {
        let began = Instant::now();
        // At QoS 0 no acknowledgement of MQTT takes that of TCP with it: Nagle's algorithm would hold back all answers but the
        // first until the broker's TCP confirms that, 40 ms later.
        for id in 0..5 {
            let properties = PublishProperties { response_topic: Some("hearth/reply/me".into()), ..PublishProperties::default() };
            client.publish(&format!("hearth/test/infer/nobody/{id}"), QoS::AtMostOnce, false, "{}", properties).await?;
        }
        for _ in 0..5 {
            client.answer().await?;
        }
        took.push(began.elapsed());
    }
    took.sort();
    assert!(took[15] < Duration::from_millis(30), "half the rounds took over {:?}", took[15]);
    Ok(())
}

#[tokio::test]
async fn the_daemon_subscribes_again_to_a_broker_that_forgot_it() -> anyhow::Result<()> {
    let mut site = Site::new().await?;
    site.broker.kill()?;
    site.broker.restart()?;
    client::online(site.broker.port()).await?;
    let mut client = site.client().await?;
    client.ask("negate", "1", tensor(&[1.0])).await?;
    assert_eq!(client.answer().await?.status, "ok");
    Ok(())
}

#[tokio::test]
async fn a_daemon_waits_for_its_broker() -> anyhow::Result<()> {
    let mut broker = Broker::start("")?;
    broker.kill()?;
    let home = home()?;
    let _daemon = home.start(&broker.section())?;
    broker.restart()?;
    client::online(broker.port()).await?;
    Ok(())
}

/// mosquitto's plugin that, unlike an `acl_file`, refuses subscriptions.
fn dynamic_security() -> anyhow::Result<PathBuf> {
    let folders = std::fs::read_dir("/usr/lib")?.filter_map(|entry| Some(entry.ok()?.path()));
    folders
        .chain([PathBuf::from("/usr/lib")])
        .map(|folder| folder.join("mosquitto_dynamic_security.so"))
        .find(|plugin| plugin.exists())
        .ok_or_else(|| anyhow::anyhow!("mosquitto_dynamic_security.so is not below /usr/lib; on Debian: apt install mosquitto"))
}

#[tokio::test]
async fn a_refused_subscription_is_told_and_tried_again() -> anyhow::Result<()> {
    let role = |allow: bool| {
        json!([
            {"acltype": "subscribePattern", "topic": "hearth/test/infer/#", "allow": allow, "priority": 1},
            {"acltype": "publishClientSend", "topic": "$CONTROL/dynamic-security/v1", "allow": true},
        ])
    };
    let broker = Broker::start_with(|folder| {
        let everything = json!({"publishClientSend": true, "publishClientReceive": true, "subscribe": true, "unsubscribe": true});
        let security = json!({
            "defaultACLAccess": everything, "clients": [],
            "roles": [{"rolename": "all", "acls": role(false)}],
            "groups": [{"groupname": "anonymous", "roles": [{"rolename": "all"}], "clients": []}],
            "anonymousGroup": "anonymous",
        });
        let file = folder.join("security.json");
        std::fs::write(&file, security.to_string())?;
        Ok(format!("allow_anonymous true\nplugin {}\nplugin_opt_config_file {}\n", dynamic_security()?.display(), file.display()))
    })?;
    let home = home()?;
    let _daemon = home.start(&broker.section())?;
    let mut client = Client::connect(broker.port(), "client").await?;
    client.subscribe("hearth/test/+").await?;
    let refused = |payload: &[u8]| {
        serde_json::from_slice::<Value>(payload).is_ok_and(|info| info["refused_subscriptions"]["hearth/test/infer/#"].is_string())
    };
    client.message_on("hearth/test/info", refused).await?;
    let grant = json!({"commands": [{"command": "modifyRole", "rolename": "all", "acls": role(true)}]}).to_string();
    client.publish("$CONTROL/dynamic-security/v1", QoS::AtLeastOnce, false, grant, PublishProperties::default()).await?;
    client::online(broker.port()).await?;
    Ok(())
}
