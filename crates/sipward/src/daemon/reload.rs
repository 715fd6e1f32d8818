//! A configuration that is read again: its files are waited for, and its signatures compiled, beside the
//! loop. What comes of the last SIGHUP counts.

use std::future::pending;

use sipward_signature::Tables;
use tokio::task::{JoinHandle, spawn_blocking};

use super::{ami::Account, asterisk, run::Options};
use crate::{
    config::Config,
    exit::Failure,
    signatures::{self, Complaints},
};

/// What only needs to be put in force.
pub(super) struct Prepared {
    pub config: Config,
    pub account: Option<Account>,
    pub tables: Tables,
    pub complaints: Complaints,
}

/// The preparation that is under way, if one is.
#[derive(Default)]
pub(super) struct Reloading {
    under_way: Option<JoinHandle<Result<Box<Prepared>, Failure>>>,
    /// The edition of the signatures in force when the files began to be read.
    edition: u64,
    /// There was another SIGHUP since.
    is_wanted_again: bool,
}

impl Reloading {
    /// Begins to prepare what the options name by now, or does so after what is under way.
    pub fn begin(&mut self, options: &Options, edition: u64) {
        self.is_wanted_again = self.under_way.is_some();
        if self.is_wanted_again {
            return;
        }
        let options = options.clone();
        self.edition = edition;
        self.under_way = Some(spawn_blocking(move || prepare(&options)));
    }

    /// Waits for its end; for ever where nothing is under way.
    pub async fn prepared(&mut self) -> Result<Box<Prepared>, Failure> {
        let Some(under_way) = &mut self.under_way else {
            return pending().await;
        };
        let done = under_way.await;
        self.under_way = None;
        done.unwrap_or_else(|error| Err(Failure::input(format!("it was not read: {error}"))))
    }

    /// Whether what has come to its end may be older than what the options name, or than the
    /// signatures in force.
    pub const fn is_outdated(&self, edition: u64) -> bool {
        self.is_wanted_again || self.edition != edition
    }
}

fn prepare(options: &Options) -> Result<Box<Prepared>, Failure> {
    let config = options.configuration()?;
    let (tables, complaints) = signatures::compile(&config.signatures)?;
    Ok(Box::new(Prepared {
        account: asterisk::account(&config)?,
        config,
        tables,
        complaints,
    }))
}
