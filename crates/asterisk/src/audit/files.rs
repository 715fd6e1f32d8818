//! The files themselves: who may read them, what they include, what Asterisk refuses.

use super::{Findings, Model, Rule, Severity};
use crate::config::{Note, Problem, is_true};

pub(super) const RULES: &[Rule] = &[
    Rule {
        id: "file-world-readable",
        severity: Severity::Medium,
        title: "Everybody on the machine reads the passwords",
        risk: "Any user and any taken-over program on this machine gets them.",
        fix: "chown root:asterisk <file> && chmod 640 <file>",
        advice: "Asterisk must still be able to read the file: give it to the group that Asterisk \
                 runs as before closing it to others.",
        bad: "== sip.conf ==\n[301771]\ntype=friend\nhost=dynamic\nsecret=q7Kd0xVt3mZr9wHb5c2L\n",
        good: "== sip.conf ==\n[general]\nallowguest=no\n",
        check: readable,
    },
    Rule {
        id: "file-world-writable",
        severity: Severity::High,
        title: "Everybody on the machine may change the configuration",
        risk: "Any user and any taken-over program on this machine makes Asterisk run commands and \
               place calls.",
        fix: "chown root:asterisk <file> && chmod 640 <file>",
        advice: "Where a web interface writes the file, give it a group of its own.",
        bad: "== sip.conf ==\n[general]\nallowguest=no\n",
        good: "== sip.conf ==\n[general]\nallowguest=no\n",
        check: writable,
    },
    Rule {
        id: "file-exec",
        severity: Severity::Medium,
        title: "A program writes a part of the configuration",
        risk: "Who can change the program, or what it reads, changes the configuration; the audit \
               did not run it and does not see what it writes.",
        fix: "; write its output to a file and include that\n#include \"generated.conf\"",
        advice: "#exec works only with execincludes=yes in asterisk.conf; without it this is \
                 information.",
        bad: "== asterisk.conf ==\n[options]\nexecincludes=yes\n\
              == sip.conf ==\n[general]\n#exec /usr/local/bin/peers ; <<\n",
        good: "== sip.conf ==\n[general]\n#tryinclude peers.conf\n",
        check: exec,
    },
    Rule {
        id: "file-outside",
        severity: Severity::Info,
        title: "A part of the configuration lies elsewhere",
        risk: "Whoever may write there changes the configuration. The audit followed it, because \
               Asterisk does; --apply leaves it alone.",
        fix: "; copy the file into the configuration directory and include it by name\n\
              #include \"peers.conf\"",
        advice: "Paths that begin with /, links and .. lead out of the directory.",
        bad: "== sip.conf ==\n[general]\n#include ../outside.conf ; <<\n\
              == ../outside.conf ==\nallowguest=no\n",
        good: "== sip.conf ==\n[general]\n#include inside.conf\n\
               == inside.conf ==\nallowguest=no\n",
        check: |model, found| notes(model, found, |p| matches!(p, Problem::OutsideTree(_)), None),
    },
    Rule {
        id: "file-include-cycle",
        severity: Severity::Medium,
        title: "A file includes itself",
        risk: "Asterisk reads it ten times over and then refuses the last one: what is in force \
               afterwards depends on the order, and a protection may not be.",
        fix: "; remove the #include on this line",
        advice: "The audit followed the file once.",
        bad: "== sip.conf ==\n[general]\n#include sip.conf ; <<\n",
        good: "== sip.conf ==\n[general]\n#include other.conf\n== other.conf ==\nallowguest=no\n",
        check: |model, found| {
            notes(
                model,
                found,
                |p| matches!(p, Problem::IncludeCycle(_)),
                None,
            )
        },
    },
    Rule {
        id: "file-refused",
        severity: Severity::Medium,
        title: "Asterisk refuses the rest of the file",
        risk: "Everything from this line on is not in force, and a protection written there \
               protects nothing; at the next restart the whole module may stay away.",
        fix: "; mend the line, then: asterisk -rx \"core reload\"",
        advice: "Asterisk logs the same line when it loads the file.",
        bad: "== sip.conf ==\n[general]\n#include missing.conf ; <<\nallowguest=no\n",
        good: "== sip.conf ==\n[general]\n#tryinclude missing.conf\nallowguest=no\n",
        check: |model, found| notes(model, found, Problem::is_fatal, None),
    },
    Rule {
        id: "file-ignored-line",
        severity: Severity::Low,
        title: "Asterisk skips a part of the file",
        risk: "What is written there is not in force, and a protection written there protects \
               nothing.",
        fix: "; mend the line, then: asterisk -rx \"core reload\"",
        advice: "Asterisk logs the same line when it loads the file.",
        bad: "== sip.conf ==\n[general]\nallowguest ; <<\n",
        good: "== sip.conf ==\n[general]\nallowguest=no\n",
        check: |model, found| notes(model, found, skipped, None),
    },
];

fn skipped(problem: &Problem) -> bool {
    match problem {
        Problem::NotRegular(_)
        | Problem::Unreadable(_)
        | Problem::TooLarge
        | Problem::NoEquals
        | Problem::NoName
        | Problem::UnknownDirective
        | Problem::DirectiveWithoutArgument
        | Problem::LineTooLong
        | Problem::UnterminatedComment
        | Problem::StrayCommentEnd => true,
        Problem::IncludeCycle(_)
        | Problem::IncludeMissing(_)
        | Problem::IncludeTooDeep(_)
        | Problem::Exec(_)
        | Problem::OutsideTree(_)
        | Problem::NoClosingBracket
        | Problem::NoClosingParenthesis
        | Problem::UnknownParent(_)
        | Problem::AppendToUnknown(_)
        | Problem::NoSection
        | Problem::InvalidEscape => false,
    }
}

/// What the reader noted, of one kind.
fn notes(
    model: &Model<'_>,
    found: &mut Findings<'_>,
    kind: impl Fn(&Problem) -> bool,
    severity: Option<Severity>,
) {
    for Note { at, problem } in &model.tree.notes {
        if kind(problem) {
            let worst = found.rule.severity;
            let text = problem.to_string();
            let mut chars = text.chars();
            let text: String = chars
                .next()
                .map_or_else(String::new, |c| c.to_uppercase().chain(chars).collect());
            found.add(*at, "", text).grade(severity.unwrap_or(worst));
        }
    }
}

/// The files that hold a password.
fn with_secrets(model: &Model<'_>) -> std::collections::HashSet<u32> {
    let keys = [
        "secret",
        "md5secret",
        "remotesecret",
        "password",
        "md5_cred",
        "register",
        "auth",
        "vmsecret",
        "inbound_auth/password",
        "outbound_auth/password",
        "dbpass",
    ];
    let files = [
        "sip.conf",
        "users.conf",
        "iax.conf",
        "pjsip.conf",
        "pjsip_wizard.conf",
        "manager.conf",
        "ari.conf",
    ];
    let mut found = std::collections::HashSet::new();
    for config in files.iter().filter_map(|f| model.config(f)) {
        for v in config.sections.iter().flat_map(|s| &s.variables) {
            // auth= of a PJSIP endpoint only names a section.
            let reference = v.name.eq_ignore_ascii_case("auth") && !v.value.contains(':');
            let key = keys.iter().any(|k| v.name.eq_ignore_ascii_case(k));
            if key && !reference && !v.value.is_empty() {
                found.insert(v.at.file);
            }
        }
    }
    let mailboxes = model
        .config("voicemail.conf")
        .into_iter()
        .flat_map(|c| c.live());
    for v in mailboxes.flat_map(|s| &s.variables) {
        if v.name.bytes().all(|b| b.is_ascii_digit()) {
            found.insert(v.at.file);
        }
    }
    found
}

fn readable(model: &Model<'_>, found: &mut Findings<'_>) {
    let secret = with_secrets(model);
    for (number, file) in (0_u32..).zip(&model.tree.files) {
        let Some(mode) = file.mode.filter(|m| m & 0o004 != 0) else {
            continue;
        };
        if secret.contains(&number) {
            let what = format!("The file holds passwords and has mode {mode:04o}");
            let fix = found
                .rule
                .fix
                .replace("<file>", &file.path.display().to_string());
            found.add_in(&file.shown, 0, "", what).mend(fix);
        }
    }
}

fn writable(model: &Model<'_>, found: &mut Findings<'_>) {
    for file in &model.tree.files {
        let Some(mode) = file.mode.filter(|m| m & 0o002 != 0) else {
            continue;
        };
        let what = format!("The file has mode {mode:04o}");
        let fix = found
            .rule
            .fix
            .replace("<file>", &file.path.display().to_string());
        found.add_in(&file.shown, 0, "", what).mend(fix);
    }
}

fn exec(model: &Model<'_>, found: &mut Findings<'_>) {
    let on = model
        .setting("asterisk.conf", "options", &["execincludes"])
        .is_some_and(|s| s.value().is_some_and(is_true));
    let severity = (!on).then_some(Severity::Info);
    notes(model, found, |p| matches!(p, Problem::Exec(_)), severity);
}
