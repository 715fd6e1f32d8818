//! What names stand for: A and AAAA records, or what the hosts file says (getaddrinfo), and those of
//! the SIP servers that their SRV records name. A look-up takes its time, so it is nobody's who
//! guards.

use std::{net::IpAddr, sync::Arc, time::Duration};

use tokio::{
    net::lookup_host,
    sync::{Notify, mpsc, oneshot},
    task::JoinSet,
    time::{MissedTickBehavior, interval, timeout},
};

use super::srv;
use crate::{
    address,
    control::{api::Resolved, server::Task},
    exit::Failure,
};

/// How often names are looked up again: about as often as providers let theirs live.
const EVERY: Duration = Duration::from_secs(300);
/// A look-up takes this long at most; shorter than a request of the control socket.
const LONGEST: Duration = Duration::from_secs(8);
/// The SRV records and what they name, of that.
const SERVERS: Duration = Duration::from_secs(6);
/// Names that are looked up at the same time.
const AT_ONCE: usize = 16;

/// Looks up names that somebody wants to be allowed.
///
/// # Errors
/// Exit code 2 where one of them is none, or stands for nothing.
pub async fn look_up_all(names: &[String]) -> Result<Vec<Resolved>, Failure> {
    let mut found = Vec::with_capacity(names.len());
    for name in names {
        if !address::is_name(name) {
            return Err(Failure::input(format!("{name:?} is no host name")));
        }
        found.push(look_up(name).await.map_err(Failure::input)?);
    }
    Ok(found)
}

/// Looks up the names of the allowlist now, from time to time, and when there are others. Where that
/// fails, what they stood for before stays allowed.
pub async fn keep_fresh(tasks: mpsc::Sender<Task>, others: Arc<Notify>) {
    let mut again = interval(EVERY);
    again.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = again.tick() => {}
            () = others.notified() => {}
        }
        let (reply, names) = oneshot::channel();
        let ask: Task = Box::new(move |guard| {
            let names = guard.names().unwrap_or_else(|error| {
                tracing::error!("{error}");
                Vec::new()
            });
            // Nobody waits for it where the daemon stops.
            let _ = reply.send(names);
        });
        if tasks.send(ask).await.is_err() {
            return;
        }
        let names = names.await.unwrap_or_default();
        for names in names.chunks(AT_ONCE) {
            let mut look_ups = JoinSet::new();
            for name in names {
                let name = name.clone();
                look_ups.spawn(async move { look_up(&name).await });
            }
            let mut found = Vec::new();
            for result in look_ups.join_all().await {
                match result {
                    Ok(resolved) => found.push(resolved),
                    Err(why) => tracing::warn!("{why}; what it stood for stays allowed"),
                }
            }
            let tell: Task = Box::new(move |guard| {
                if let Err(error) = guard.names_are(found) {
                    tracing::error!("{error}");
                }
            });
            if tasks.send(tell).await.is_err() {
                return;
            }
        }
    }
}

async fn look_up(name: &str) -> Result<Resolved, String> {
    let whole = async {
        let servers = async {
            let mut found = Vec::new();
            for server in srv::servers(name).await {
                found.extend(addresses(&server).await.unwrap_or_default());
            }
            found
        };
        let (own, servers) = tokio::join!(addresses(name), timeout(SERVERS, servers));
        let servers = servers.unwrap_or_default();
        if servers.is_empty() {
            return own;
        }
        Ok([own.unwrap_or_default(), servers].concat())
    };
    let found = timeout(LONGEST, whole).await.map_err(|_| {
        format!(
            "{name}: no name server answered within {} s",
            LONGEST.as_secs()
        )
    })?;
    let mut addresses = found.map_err(|error| format!("{name}: {error}"))?;
    // A name that is blocked, or for sale, may stand for these.
    addresses.retain(|address| !address.is_unspecified());
    addresses.sort_unstable();
    addresses.dedup();
    if addresses.is_empty() {
        return Err(format!("{name} has no address"));
    }
    Ok(Resolved {
        name: name.to_owned(),
        addresses,
    })
}

async fn addresses(name: &str) -> Result<Vec<IpAddr>, String> {
    // The port has no meaning here.
    let found = lookup_host((name, 0)).await;
    let found = found.map_err(|error| error.to_string())?;
    Ok(found.map(|at| at.ip().to_canonical()).collect())
}
