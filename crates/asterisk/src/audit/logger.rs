//! `logger.conf`: what guards can read.

use super::{Findings, Model, Rule, Severity};

pub(super) const RULES: &[Rule] = &[Rule {
    id: "logger-security",
    severity: Severity::Medium,
    title: "No security log",
    risk: "Failed logins leave no line with the attacker's address in a file: no guard that reads \
           logs sees them, and there is nothing to look at afterwards.",
    fix: "; logger.conf, [logfiles]\nsecurity => security",
    advice: "The security channel writes one line for each failed and each successful login, with \
             the address in a fixed place. Reload with: asterisk -rx \"logger reload\". The file \
             grows: let logrotate take care of it.",
    bad: "== logger.conf ==\n[logfiles] ; <<\nmessages => notice,warning,error\n",
    good: "== logger.conf ==\n[logfiles]\nmessages => notice,warning,error\nsecurity => security\n",
    check: security,
}];

fn security(model: &Model<'_>, found: &mut Findings<'_>) {
    if model.config("logger.conf").is_none() {
        return;
    }
    let Some(section) = model.section("logger.conf", "logfiles") else {
        found.add_in("logger.conf", 0, "logfiles", "There is no [logfiles]");
        return;
    };
    let to_file = |name: &str| !name.eq_ignore_ascii_case("console");
    let levels = |value: &str| {
        value
            .split(',')
            .map(|l| l.trim().to_ascii_lowercase())
            .any(|l| {
                // A format in brackets may stand before the first level.
                let level = l.rsplit(']').next().unwrap_or_default().trim().to_owned();
                level == "security" || level == "*"
            })
    };
    if section
        .variables
        .iter()
        .any(|v| to_file(&v.name) && levels(&v.value))
    {
        return;
    }
    let change = model.set(Some(section), None, "security", "security");
    found
        .add(section.at, "logfiles", "No file has the level security")
        .change(change);
}
