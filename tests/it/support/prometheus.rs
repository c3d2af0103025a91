//! A real Prometheus and a real Alertmanager, and the programs that check their files.

use super::peers::peers;
use super::server::Server;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use url::Url;

fn program(name: &str) -> PathBuf {
    let program = peers().join("prometheus/usr/bin").join(name);
    assert!(program.exists(), "{} is missing: run tests/peers/install", program.display());
    program
}

/// `promtool` or `amtool`.
pub(crate) fn tool(name: &str) -> Command {
    Command::new(program(name))
}

async fn answer(url: Url) -> Value {
    reqwest::get(url).await.unwrap().json().await.unwrap()
}

/// A Prometheus that scrapes every second.
pub(crate) struct Prometheus(Server);

impl Prometheus {
    /// With these rules, and the rest of a scrape configuration in one line for each key.
    pub(crate) fn start(rules: &Path, scraped: &str, alerts: Option<&Alertmanager>) -> Self {
        let alerting = alerts.map_or(String::new(), |alertmanager| {
            let at = alertmanager.0.port;
            format!("alerting: {{ alertmanagers: [{{ static_configs: [{{ targets: ['127.0.0.1:{at}'] }}] }}] }}\n")
        });
        let every = "{ scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s }";
        let scraped = scraped.replace('\n', "\n    ");
        let rules = rules.display();
        let config = format!(
            "global: {every}\nrule_files: ['{rules}']\n{alerting}scrape_configs:\n  - job_name: rekeyd\n    {scraped}\n"
        );
        Self(Server::start(
            |port, folder| {
                let (file, data) = (folder.path().join("prometheus.yml"), folder.path().join("data"));
                fs::write(&file, &config).unwrap();
                let mut command = Command::new(program("prometheus"));
                command.arg(format!("--config.file={}", file.display()));
                command.arg(format!("--storage.tsdb.path={}", data.display()));
                command.arg(format!("--web.listen-address=127.0.0.1:{port}"));
                command
            },
            "/-/ready",
            "200",
        ))
    }

    /// What it answers to a question in its language.
    pub(crate) async fn query(&self, query: &str) -> Value {
        let url = format!("{}/api/v1/query", self.0.url());
        answer(Url::parse_with_params(&url, [("query", query)]).unwrap()).await
    }

    /// The values of the answer.
    pub(crate) async fn values(&self, query: &str) -> Vec<f64> {
        let answer = self.query(query).await;
        let series = answer["data"]["result"].as_array().unwrap_or_else(|| panic!("{query}: {answer}"));
        series.iter().map(|series| series["value"][1].as_str().unwrap().parse().unwrap()).collect()
    }
}

/// An Alertmanager that tells nobody; it is asked.
pub(crate) struct Alertmanager(Server);

impl Alertmanager {
    pub(crate) fn start() -> Self {
        Self(Server::start(
            |port, folder| {
                let (file, data) = (folder.path().join("alertmanager.yml"), folder.path().join("data"));
                fs::write(&file, "route: { receiver: nobody }\nreceivers: [{ name: nobody }]\n").unwrap();
                let mut command = Command::new(program("prometheus-alertmanager"));
                command.arg(format!("--config.file={}", file.display()));
                command.arg(format!("--storage.path={}", data.display()));
                command.arg(format!("--web.listen-address=127.0.0.1:{port}"));
                command.arg("--cluster.listen-address=");
                command
            },
            "/-/ready",
            "200",
        ))
    }

    /// The alerts that fire now.
    pub(crate) async fn alerts(&self) -> Vec<Value> {
        let url = format!("{}/api/v2/alerts?active=true", self.0.url());
        answer(url.parse().unwrap()).await.as_array().unwrap().clone()
    }

    /// Their names.
    pub(crate) async fn firing(&self) -> BTreeSet<String> {
        self.alerts().await.iter().map(|alert| alert["labels"]["alertname"].as_str().unwrap().to_owned()).collect()
    }
}
