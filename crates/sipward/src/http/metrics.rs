//! The metrics by their names: a renamed one breaks somebody's alarm.

use jiff::Timestamp;

use super::{
    exposition::{Exposition, Format},
    process::Process,
};
use crate::{
    config::GuardMode,
    control::api::{
        EnforcementState, FeedView, Interface, LedgerState, Sensor, SensorState, Status,
    },
    daemon::Figures,
};

/// A family's name, its help, and what of each thing it shows.
type Shown<T, V> = (&'static str, &'static str, fn(&T) -> V);

/// All of them.
#[must_use]
pub fn write(figures: &Figures, of: &Process, format: Format) -> String {
    let mut out = Exposition::new(format);
    guard(&mut out, figures);
    process(&mut out, figures, of);
    packets(&mut out, figures);
    bans(&mut out, figures);
    sensors(&mut out, &figures.status);
    feeds(&mut out, &figures.status.feeds);
    ledger(&mut out, &figures.status);
    out.finish()
}

fn guard(out: &mut Exposition, figures: &Figures) {
    let status = &figures.status;
    out.gauge("sipward_build_info", "The version that runs.")
        .sample(&[("version", &status.version)], 1);
    out.gauge("sipward_backend_info", "What enforces: xdp or nftables.")
        .sample(&[("backend", &status.backend)], 1);
    out.gauge("sipward_mode", "1 for the mode in force.")
        .states(
            &[],
            "mode",
            &["protect", "observe"],
            match status.mode {
                GuardMode::Protect => "protect",
                GuardMode::Observe => "observe",
            },
        );
    out.gauge(
        "sipward_figures_timestamp_seconds",
        "When these figures were taken: some seconds ago at most.",
    )
    .sample(&[], figures.taken.as_second());
    interfaces(out, &status.interfaces);
    let enforcement = &status.enforcement;
    out.gauge(
        "sipward_enforcement_state",
        "1 for the state: ok, leaking (banned packets came through within a minute) or detached.",
    )
    .states(
        &[],
        "state",
        &["ok", "leaking", "detached"],
        match enforcement.state {
            EnforcementState::Ok => "ok",
            EnforcementState::Leaking => "leaking",
            EnforcementState::Detached => "detached",
        },
    );
    out.counter(
        "sipward_leaked_packets",
        "Packets of banned sources that were seen behind the shield, since the start.",
    )
    .sample(&[], enforcement.leaked_packets);
    out.gauge(
        "sipward_strangers_hidden",
        "1 where all strangers come from the address of the gateway, so that none can be banned.",
    )
    .sample(&[], u8::from(status.strangers_come_from.is_some()));
    out.gauge(
        "sipward_warnings",
        "Lines of warning that sipward status shows.",
    )
    .sample(&[], status.warnings.len());
}

fn interfaces(out: &mut Exposition, interfaces: &[Interface]) {
    let mut guarded = out.gauge(
        "sipward_interface_guarded",
        "1 where what comes in at the interface is judged, 0 where it is not.",
    );
    for interface in interfaces {
        let labels = [("interface", interface.name.as_str())];
        guarded.sample(&labels, u8::from(interface.attached));
    }
    let mut modes = out.gauge(
        "sipward_interface_xdp_info",
        "How the program is on the interface, where it is: native or generic.",
    );
    for interface in interfaces {
        if let Some(mode) = &interface.xdp_mode {
            modes.sample(&[("interface", &interface.name), ("mode", mode)], 1);
        }
    }
}

/// Under the names that Prometheus' own libraries use, for which there are dashboards.
fn process(out: &mut Exposition, figures: &Figures, process: &Process) {
    out.gauge(
        "process_start_time_seconds",
        "When the daemon started, in seconds of UNIX time.",
    )
    .sample(&[], figures.started.as_second());
    let gauges: [Shown<Process, Option<u64>>; 3] = [
        (
            "process_resident_memory_bytes",
            "Memory of the daemon, without what is swapped out and without the kernel's tables.",
            |process| process.resident,
        ),
        (
            "process_open_fds",
            "Files and sockets that the daemon has open.",
            |process| process.open_files,
        ),
        (
            "process_max_fds",
            "Files and sockets that the daemon may have open.",
            |process| process.most_files,
        ),
    ];
    for (name, help, value) in gauges {
        if let Some(value) = value(process) {
            out.gauge(name, help).sample(&[], value);
        }
    }
}

fn packets(out: &mut Exposition, figures: &Figures) {
    let mut packets = out.counter(
        "sipward_packets",
        "Packets by what became of them and why, since the tables were made; in observe mode those \
         to be dropped have passed.",
    );
    for (reason, count) in &figures.counters.0 {
        for (verdict, count) in [("passed", count.passed), ("dropped", count.dropped)] {
            packets.sample(&[("reason", reason.name()), ("verdict", verdict)], count);
        }
    }
    let mut hits = out.counter(
        "sipward_signature_hits",
        "Packets that a signature has hit since the daemon started, as far as they were told: of more than \
         1000 in a second the rest is in sipward_packets_total only, as is what the ban that followed \
         dropped. Those built in, and what else was ever hit.",
    );
    for (name, packets) in &figures.signatures {
        hits.sample(&[("signature", name)], packets);
    }
    let mut sent = out.counter(
        "sipward_sent_packets",
        "Packets that sipward sent itself: answer (503 to a guesser) and rejection (ICMP).",
    );
    sent.sample(&[("kind", "answer")], figures.sent.answers);
    sent.sample(&[("kind", "rejection")], figures.sent.rejections);
}

fn bans(out: &mut Exposition, figures: &Figures) {
    let mut bans = out.gauge(
        "sipward_bans",
        "Bans in force by who decided them and by the detector, if one did.",
    );
    for ((origin, detector), count) in &figures.bans {
        let detector = detector.unwrap_or("none");
        bans.sample(&[("origin", origin), ("detector", detector)], count);
    }
    out.gauge("sipward_allowed_prefixes", "Prefixes on the allowlist.")
        .sample(&[], figures.status.allowed);
    out.gauge("sipward_trusted_sources", "Sources that have logged in.")
        .sample(&[], figures.status.trusted);
    if figures.tables.is_empty() {
        return;
    }
    let mut entries = out.gauge("sipward_table_entries", "Entries in a table of the kernel.");
    for fill in &figures.tables {
        entries.sample(&[("table", fill.table)], fill.entries);
    }
    let mut capacity = out.gauge(
        "sipward_table_capacity_entries",
        "Entries that a table of the kernel can hold.",
    );
    for fill in &figures.tables {
        capacity.sample(&[("table", fill.table)], fill.capacity);
    }
}

fn sensors(out: &mut Exposition, status: &Status) {
    let sensors = &status.sensors;
    let sensors: [(&str, &Sensor); 4] = [
        ("kernel", &sensors.kernel),
        ("packets", &sensors.packets),
        ("asterisk_log", &sensors.asterisk_log),
        ("ami", &sensors.ami),
    ];
    let mut state = out.gauge(
        "sipward_sensor_state",
        "1 for the state of a sensor: off, on, waiting or refused.",
    );
    for (name, sensor) in sensors {
        let is = match sensor.state {
            SensorState::Off => "off",
            SensorState::On => "on",
            SensorState::Waiting => "waiting",
            SensorState::Refused => "refused",
        };
        let all = ["off", "on", "waiting", "refused"];
        state.states(&[("sensor", name)], "state", &all, is);
    }
    let counters: [Shown<Sensor, u64>; 2] = [
        (
            "sipward_sensor_events",
            "What a sensor reported: events, frames or lines.",
            |sensor| sensor.events,
        ),
        (
            "sipward_sensor_unmatched_events",
            "Of those, what said nothing to sipward.",
            |sensor| sensor.unmatched,
        ),
    ];
    for (name, help, count) in counters {
        let mut counter = out.counter(name, help);
        for (name, sensor) in sensors {
            counter.sample(&[("sensor", name)], count(sensor));
        }
    }
    // The others cannot tell.
    out.counter(
        "sipward_sensor_lost_events",
        "Frames that came faster than they were read, and are lost.",
    )
    .sample(&[("sensor", "packets")], status.sensors.packets.lost);
}

fn feeds(out: &mut Exposition, feeds: &[FeedView]) {
    if feeds.is_empty() {
        return;
    }
    let gauges: [Shown<FeedView, Option<i64>>; 5] = [
        (
            "sipward_feed_failing",
            "1 where the last try to fetch the list failed, or the list was held back.",
            |feed| Some(i64::from(feed.error.is_some())),
        ),
        (
            "sipward_feed_entries",
            "Entries of the list that is in force, good and bad.",
            |feed| i64::try_from(feed.entries).ok(),
        ),
        (
            "sipward_feed_signatures",
            "Signatures taken from the list.",
            |feed| i64::try_from(feed.signatures).ok(),
        ),
        (
            "sipward_feed_last_success_timestamp_seconds",
            "When the server of the list last sent it, or said that it has not changed.",
            |feed| feed.last_success.map(Timestamp::as_second),
        ),
        (
            "sipward_feed_lapse_timestamp_seconds",
            "When what the list says ends, unless it is confirmed.",
            |feed| feed.lapses.map(Timestamp::as_second),
        ),
    ];
    for (name, help, value) in gauges {
        let mut gauge = out.gauge(name, help);
        for feed in feeds {
            if let Some(value) = value(feed) {
                gauge.sample(&[("feed", &feed.name)], value);
            }
        }
    }
}

fn ledger(out: &mut Exposition, status: &Status) {
    out.gauge(
        "sipward_ledger_writable",
        "1 where the ledger can be written, 0 where a reboot would forget the latest.",
    )
    .sample(
        &[],
        match status.ledger.state {
            LedgerState::Ok => 1,
            LedgerState::Unwritable => 0,
        },
    );
    out.gauge(
        "sipward_ledger_waiting_entries",
        "What waits until the ledger can be written.",
    )
    .sample(&[], status.ledger.waiting);
}
