//! `rtp.conf`.

use super::edit::says;
use super::{Findings, Model, Rule, Severity};

pub(super) const RULES: &[Rule] = &[Rule {
    id: "rtp-strict",
    severity: Severity::Medium,
    title: "Media from any address is taken for the caller's",
    risk: "Somebody who sends packets to the media ports takes over the voice of a running call, \
           or hears it.",
    fix: "; rtp.conf, [general]\nstrictrtp=yes",
    advice: "It is the default. Asterisk then learns the sender's address at the start of a call \
             and drops packets from others.",
    bad: "== rtp.conf ==\n[general]\nstrictrtp=no ; <<\n",
    good: "== rtp.conf ==\n[general]\nstrictrtp=yes\n",
    check: strict,
}];

fn strict(model: &Model<'_>, found: &mut Findings<'_>) {
    // The RTP engine asks for one value: the first counts.
    let Some(general) = model.section("rtp.conf", "general") else {
        return;
    };
    let Some(variable) = general.first("strictrtp") else {
        return;
    };
    if says(Some(&variable.value), false) {
        let change = model.set(Some(general), Some(variable), "strictrtp", "yes");
        found
            .add(
                variable.at,
                "general",
                format!("strictrtp={}", variable.value),
            )
            .change(change);
    }
}
