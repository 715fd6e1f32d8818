//! What names stand for: A and AAAA records, or what the hosts file says (getaddrinfo). SRV records
//! (RFC 3263) are not followed. A look-up takes its time, so it is nobody's who guards.

use std::{net::IpAddr, time::Duration};

use tokio::{
    net::lookup_host,
    sync::{mpsc, oneshot},
    time::{MissedTickBehavior, interval, timeout},
};

use crate::{
    address,
    control::{api::Resolved, server::Task},
    exit::Failure,
};

/// How often names are looked up again: about as often as providers let theirs live.
const EVERY: Duration = Duration::from_secs(300);
/// A look-up takes this long at most; shorter than a request of the control socket.
const LONGEST: Duration = Duration::from_secs(8);

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

/// Looks up the names of the allowlist now and from time to time. Where that fails, what they
/// stood for before stays allowed.
pub async fn keep_fresh(tasks: mpsc::Sender<Task>) {
    let mut again = interval(EVERY);
    again.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        again.tick().await;
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
        let mut found = Vec::new();
        for name in names.await.unwrap_or_default() {
            match look_up(&name).await {
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

async fn look_up(name: &str) -> Result<Resolved, String> {
    // The port has no meaning here.
    let found = timeout(LONGEST, lookup_host((name, 0))).await;
    let found = found
        .map_err(|_| {
            format!(
                "{name}: no name server answered within {} s",
                LONGEST.as_secs()
            )
        })?
        .map_err(|error| format!("{name}: {error}"))?;
    let mut addresses: Vec<IpAddr> = found.map(|at| at.ip().to_canonical()).collect();
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
