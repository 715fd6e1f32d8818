//! What runs beside the loop because of Asterisk, and what the configuration tells it.

use std::{collections::BTreeSet, sync::Arc};

use tokio::sync::{Notify, mpsc, watch};

use super::{
    ami::{self, Account},
    names,
    peers::{self, Settings},
};
use crate::{config::Config, control::server::Task, exit::Failure};

/// Tasks of the runtime, told of each new configuration.
#[derive(Debug)]
pub struct Beside {
    account: watch::Sender<Option<Account>>,
    settings: watch::Sender<Settings>,
}

impl Beside {
    /// Starts them.
    pub fn start(config: &Config, account: Option<Account>, tasks: mpsc::Sender<Task>) -> Self {
        let (account, accounts) = watch::channel(account);
        let (settings, trees) = watch::channel(Settings::of(config));
        let (running, hosts) = watch::channel(BTreeSet::new());
        let others = Arc::new(Notify::new());
        tokio::spawn(ami::follow(accounts, tasks.clone(), running));
        tokio::spawn(peers::follow(trees, hosts, tasks.clone(), others.clone()));
        tokio::spawn(names::keep_fresh(tasks, others));
        Self { account, settings }
    }

    /// Tells them of another configuration; the files are read again whether or not it is one.
    pub fn follow(&self, config: &Config, account: Option<Account>) {
        self.account.send_if_modified(|before| {
            let other = *before != account;
            *before = account;
            other
        });
        self.settings.send_replace(Settings::of(config));
    }
}

/// The account of the manager interface, where there is one to be used.
///
/// # Errors
/// Exit code 78: its secret cannot be had.
pub fn account(config: &Config) -> Result<Option<Account>, Failure> {
    let ami = &config.asterisk.ami;
    let Some(user) = &ami.user else {
        return Ok(None);
    };
    Ok(Some(Account {
        user: user.clone(),
        secret: ami.secret()?,
        at: ami.clone(),
    }))
}
