//! `extensions.conf`: who can dial out, how far, how long, and what callers can make it run.

use std::collections::{HashMap, HashSet};

use super::routes::Exit;
use super::strength::guessable_digits;
use super::{Findings, Model, Rule, Severity, listed};
use crate::config::{Application, Extension, Place, Priority};

/// The dialplan of the examples: an outside line behind a secret prefix, with limits.
macro_rules! safe_plan {
    () => {
        "== extensions.conf ==\n[office]\n\
         exten => _73519.,1,Set(TIMEOUT(absolute)=3600)\n same => n,Set(N=${FILTER(0-9,${EXTEN:5})})\n\
         same => n,Dial(SIP/${N}@provider)\n\
         exten => _7351900.,1,Hangup\nexten => _73519+.,1,Hangup\nexten => _73519011.,1,Hangup\n\
         exten => _735190900.,1,Hangup\nexten => _735190137.,1,Hangup\n\
         exten => _735191900.,1,Hangup\nexten => _73519118.,1,Hangup\n"
    };
}

pub(super) const RULES: &[Rule] = &[
    Rule {
        id: "dialplan-guest-outside",
        severity: Severity::High,
        title: "An outside line without a password",
        risk: "Anybody on the internet dials any number through the trunk, at your cost: this is \
               what scanners look for.",
        fix: "; extensions.conf: a context for guests without include= of the outside line\n\
              [public]\nexten => _X.,1,Hangup(21)",
        advice: "Let the context of guests, anonymous callers and accounts without a password \
                 reach nothing but the extensions meant for the public.",
        bad: "== sip.conf ==\n[general]\nallowguest=yes ; <<\ncontext=office\n\
              == extensions.conf ==\n[office]\nexten => _0.,1,Dial(SIP/${EXTEN:1}@provider)\n",
        good: "== sip.conf ==\n[general]\nallowguest=yes\ncontext=public\n\
               == extensions.conf ==\n[public]\nexten => _X.,1,Hangup(21)\n",
        check: guest_outside,
    },
    Rule {
        id: "dialplan-guest-reach",
        severity: Severity::Info,
        title: "What callers without a password reach",
        risk: "Each of these extensions is open to the whole internet.",
        fix: "; extensions.conf: what the public may dial, and nothing else\n[public]\n\
              exten => _X.,1,Hangup(21)",
        advice: "Read the list once and ask of each whether it is meant for strangers.",
        bad: "== sip.conf ==\n[general]\nallowguest=yes ; <<\ncontext=public\n\
              == extensions.conf ==\n[public]\nexten => 301771,1,Dial(SIP/anna)\n",
        good: "== sip.conf ==\n[general]\nallowguest=no\ncontext=public\n\
               == extensions.conf ==\n[public]\nexten => 301771,1,Dial(SIP/anna)\n",
        check: guest_reach,
    },
    Rule {
        id: "dialplan-outside-prefix",
        severity: Severity::Medium,
        title: "The outside line has no prefix, or the one that everybody tries",
        risk: "With one guessed password an attacker dials out at once: 0, 9 and 00 are what he \
               tries first.",
        fix: "; extensions.conf: five digits that nobody guesses instead of 0\n\
              exten => _73519.,1,Dial(SIP/${EXTEN:5}@provider)\n; or a PIN before the Dial\n\
              exten => _0.,1,Authenticate(<six digits>)",
        advice: "A secret prefix of four digits or more is a second password. The phones can hold \
                 it as a speed-dial key.",
        bad: "== extensions.conf ==\n[office]\nexten => _0.,1,Dial(SIP/${EXTEN:1}@provider) ; <<\n",
        good: safe_plan!(),
        check: outside_prefix,
    },
    Rule {
        id: "dialplan-prefix-guessable",
        severity: Severity::Low,
        title: "A prefix that is guessed",
        risk: "A short or regular prefix is found by trying, and falls as the last hurdle before \
               the outside line.",
        fix: "; extensions.conf: five digits without a pattern instead\n\
              exten => _<five digits>.,1,Dial(SIP/${EXTEN:5}@provider)",
        advice: "Four digits at least; no year, no run, no repeat.",
        bad: "== extensions.conf ==\n[office]\n\
              exten => _1234.,1,Dial(SIP/${EXTEN:4}@provider) ; <<\n",
        good: safe_plan!(),
        check: prefix_guessable,
    },
    Rule {
        id: "dialplan-international",
        severity: Severity::Medium,
        title: "Calls abroad are open",
        risk: "Toll fraud goes to expensive numbers abroad: one night costs thousands.",
        fix: "; extensions.conf, beside the outside line and with its prefix\n\
              exten => _<prefix>00.,1,Hangup(21)\nexten => _<prefix>+.,1,Hangup(21)\n\
              exten => _<prefix>011.,1,Hangup(21)",
        advice: "A more specific pattern wins over the open one. Allow single countries in the \
                 same way: `_<prefix>0043.` to reach Austria. Block abroad at the provider as well.",
        bad: "== extensions.conf ==\n[office]\n\
              exten => _73519.,1,Dial(SIP/${EXTEN:5}@provider) ; <<\n",
        good: safe_plan!(),
        check: international,
    },
    Rule {
        id: "dialplan-premium",
        severity: Severity::Low,
        title: "Premium numbers are open",
        risk: "An attacker calls his own premium number through your trunk and earns by the minute.",
        fix: "; extensions.conf, beside the outside line and with its prefix\n\
              exten => _<prefix>0900.,1,Hangup(21)\nexten => _<prefix>0137.,1,Hangup(21)\n\
              exten => _<prefix>118.,1,Hangup(21)\nexten => _<prefix>1900.,1,Hangup(21)",
        advice: "Tried are 0900, 0137 and 118 as in Germany and 1-900 as in North America. Add \
                 your own country's.",
        bad: "== extensions.conf ==\n[office]\n\
              exten => _73519.,1,Dial(SIP/${EXTEN:5}@provider) ; <<\n",
        good: safe_plan!(),
        check: premium,
    },
    Rule {
        id: "dialplan-no-limit",
        severity: Severity::Low,
        title: "Calls outside never end",
        risk: "A fraudulent call runs all night.",
        fix: "; extensions.conf, before the Dial: an hour at most\n\
              same => n,Set(TIMEOUT(absolute)=3600)",
        advice: "The L() and S() options of Dial do the same for one call.",
        bad: "== extensions.conf ==\n[office]\n\
              exten => _73519.,1,Dial(SIP/${EXTEN:5}@provider) ; <<\n",
        good: safe_plan!(),
        check: no_limit,
    },
    Rule {
        id: "dialplan-pin-weak",
        severity: Severity::Medium,
        title: "A PIN that is guessed",
        risk: "The PIN before the outside line is tried out in a few calls.",
        fix: "; extensions.conf: six digits without a pattern\n\
              same => n,Authenticate(<six digits>)",
        advice: "Authenticate allows three tries per call; a machine calls again.",
        bad: "== extensions.conf ==\n[office]\nexten => _73519.,1,Authenticate(1234) ; <<\n\
              same => n,Set(TIMEOUT(absolute)=3600)\n",
        good: "== extensions.conf ==\n[office]\nexten => _73519.,1,Authenticate(804417)\n",
        check: weak_pin,
    },
    Rule {
        id: "dialplan-injection",
        severity: Severity::Medium,
        title: "The caller's text goes into a dial string",
        risk: "A dialled & or / in the number adds a second destination: Asterisk then calls what \
               the attacker wrote.",
        fix: "; extensions.conf: let digits through only\n\
              same => n,Dial(SIP/${FILTER(0-9+,${EXTEN})}@provider)",
        advice: "The pattern characters . and ! match any character, not only digits. FILTER() \
                 keeps what it lists.",
        bad: "== extensions.conf ==\n[office]\n\
              exten => _73519.,1,Dial(SIP/${EXTEN:5}@provider) ; <<\n",
        good: safe_plan!(),
        check: injection,
    },
    Rule {
        id: "dialplan-system",
        severity: Severity::High,
        title: "The caller's text reaches a shell",
        risk: "A caller's number or name is put into a shell command: commands run on the server.",
        fix: "; extensions.conf: let harmless characters through only\n\
              same => n,System(/usr/local/bin/ring ${FILTER(0-9,${CALLERID(num)})})",
        advice: "Caller ID, SIP headers and dialled numbers are the attacker's own words. FILTER() \
                 keeps what it lists; AGI passes arguments without a shell.",
        bad: "== extensions.conf ==\n[office]\n\
              exten => 301771,1,System(echo ${CALLERID(name)} >> /tmp/calls) ; <<\n",
        good: "== extensions.conf ==\n[office]\n\
               exten => 301771,1,System(echo ${FILTER(0-9,${CALLERID(num)})} >> /tmp/calls)\n",
        check: system,
    },
    Rule {
        id: "dialplan-disa",
        severity: Severity::High,
        title: "A dial tone for callers from outside",
        risk: "Who calls this extension gets a dial tone inside, and with it the outside line.",
        fix: "; extensions.conf: a PIN of eight digits, and only from known numbers\n\
              same => n,DISA(<eight digits>,<context without calls abroad>)",
        advice: "DISA is best removed. With no-password there is no hurdle at all; PINs are tried \
                 out by machines.",
        bad: "== extensions.conf ==\n[incoming]\nexten => 301771,1,DISA(no-password,office) ; <<\n",
        good: "== extensions.conf ==\n[incoming]\nexten => 301771,1,DISA(80441729,office)\n",
        check: disa,
    },
    Rule {
        id: "dialplan-voicemail-open",
        severity: Severity::Medium,
        title: "A mailbox without its PIN",
        risk: "Callers listen to somebody's messages, and where call-back is on dial out.",
        fix: "; extensions.conf: without the option s\nsame => n,VoiceMailMain(<mailbox>@default)",
        advice: "The option s skips the PIN. It belongs only where the caller has proved who he is.",
        bad: "== extensions.conf ==\n[office]\nexten => 301771,1,VoiceMailMain(301771@default,s) ; <<\n",
        good: "== extensions.conf ==\n[office]\nexten => 301771,1,VoiceMailMain(301771@default)\n",
        check: voicemail_open,
    },
    Rule {
        id: "dialplan-voicemail-callback",
        severity: Severity::Medium,
        title: "Mailboxes can dial out",
        risk: "Who guesses a mailbox PIN from outside calls any number through the trunk.",
        fix: "; voicemail.conf: remove callback= and dialout=, or name a context without an \
              outside line\ncallback=internal",
        advice: "Both options dial from inside a mailbox that can be reached from outside.",
        bad: "== voicemail.conf ==\n[general]\ncallback=office ; <<\n\
              == extensions.conf ==\n[office]\nexten => _0.,1,Dial(SIP/${EXTEN:1}@provider)\n",
        good: "== voicemail.conf ==\n[general]\ncallback=internal\n\
               == extensions.conf ==\n[internal]\nexten => 301771,1,Dial(SIP/anna)\n",
        check: voicemail_callback,
    },
    Rule {
        id: "dialplan-catch-all",
        severity: Severity::Low,
        title: "A pattern that matches everything",
        risk: "It also catches h, i and t, so that calls loop, and any text a caller sends.",
        fix: "; extensions.conf: numbers of two digits or more\nexten => _X.,1,…",
        advice: "Use _X. for numbers and write i for what nothing fits.",
        bad: "== extensions.conf ==\n[office]\nexten => _.,1,NoOp() ; <<\n",
        good: "== extensions.conf ==\n[office]\nexten => _X.,1,NoOp()\n",
        check: catch_all,
    },
    Rule {
        id: "dialplan-trunk-contexts",
        severity: Severity::Info,
        title: "Contexts from which a trunk is dialled",
        risk: "Every account in these contexts, once its password is guessed, dials out.",
        fix: "; extensions.conf: phones that need no outside line get a context without it\n\
              [internal]\nexten => 301771,1,Dial(SIP/anna)",
        advice: "Keep the door phone, the lobby phone and the fax out of them.",
        bad: "== extensions.conf ==\n[office]\n\
              exten => _73519.,1,Dial(SIP/${EXTEN:5}@provider) ; <<\n",
        good: "== extensions.conf ==\n[internal]\nexten => 301771,1,Dial(SIP/anna)\n",
        check: trunk_contexts,
    },
    Rule {
        id: "dialplan-elsewhere",
        severity: Severity::Info,
        title: "A part of the configuration that the audit cannot see",
        risk: "What an attacker reaches there is not in this report.",
        fix: "; nothing to paste: read these parts yourself, with the pages of the dialplan rules",
        advice: "extensions.ael, extensions.lua, switch= and realtime databases are other \
                 languages and other places. The audit reads extensions.conf only.",
        bad: "== extconfig.conf ==\n[settings]\nsippeers => odbc,asterisk,sip ; <<\n",
        good: "== extconfig.conf ==\n[settings]\n",
        check: elsewhere,
    },
    Rule {
        id: "dialplan-live-dangerously",
        severity: Severity::Medium,
        title: "Dialplan functions from outside may run commands",
        risk: "Who reaches the manager interface or ARI runs commands on the server with SHELL() \
               and writes files.",
        fix: "; asterisk.conf, [options]\nlive_dangerously=no",
        advice: "The default is no since Asterisk 12. The dialplan itself is not limited by it.",
        bad: "== asterisk.conf ==\n[options]\nlive_dangerously=yes ; <<\n",
        good: "== asterisk.conf ==\n[options]\nlive_dangerously=no\n",
        check: live_dangerously,
    },
];

fn guest_outside(model: &Model<'_>, found: &mut Findings<'_>) {
    for (context, at, who) in model.open_contexts() {
        let exits = model.routes.reached(&model.plan, &context);
        // A secret prefix is no hurdle for somebody who may try as often as he likes.
        if let Some(exit) = exits.iter().find(|e| !e.hurdle) {
            let dial = place(model, exit.dial);
            let what = format!("In context {context} {who} reaches the outside line at {dial}");
            found.add(at, &context, what);
        }
    }
}

fn guest_reach(model: &Model<'_>, found: &mut Findings<'_>) {
    for (context, at, who) in model.open_contexts() {
        let contexts = model.plan.closure(&context);
        let count: usize = contexts.iter().map(|c| c.extensions.len()).sum();
        if count == 0 {
            continue;
        }
        let names: Vec<&str> = contexts.iter().map(|c| c.name.as_str()).collect();
        let what = format!(
            "In context {} {who} reaches {count} extensions",
            listed(&names)
        );
        found.add(at, &context, what);
    }
}

/// The exits, those that only a PIN opens left out.
fn without_hurdle<'m>(model: &'m Model<'_>) -> impl Iterator<Item = &'m Exit> {
    model.routes.exits.iter().filter(|e| !e.hurdle)
}

fn outside_prefix(model: &Model<'_>, found: &mut Findings<'_>) {
    for exit in without_hurdle(model).filter(|e| !e.secret_prefix() || e.prefix == "00") {
        let prefix = if exit.prefix.is_empty() {
            "no prefix"
        } else {
            "a prefix of one digit"
        };
        let what = format!("{} dials out with {prefix}", exit.shown());
        found.add(exit.at, &exit.context, capital(&what));
    }
}

fn prefix_guessable(model: &Model<'_>, found: &mut Findings<'_>) {
    const SHORTEST: usize = 4;
    for exit in without_hurdle(model).filter(|e| e.secret_prefix() && e.prefix != "00") {
        let why = match () {
            () if exit.prefix.len() < SHORTEST => "is shorter than four digits",
            () if guessable_digits(&exit.prefix) => "is a run, a repeat or a year",
            () => continue,
        };
        found.add(
            exit.at,
            &exit.context,
            format!("The prefix of the outside line {why}"),
        );
    }
}

fn international(model: &Model<'_>, found: &mut Findings<'_>) {
    for exit in without_hurdle(model).filter(|e| e.international) {
        // Behind a prefix that has to be known it takes two secrets.
        let guarded = exit.prefix.len() >= 4 && !guessable_digits(&exit.prefix);
        let severity = if guarded {
            Severity::Low
        } else {
            Severity::Medium
        };
        let what = format!("{} reaches numbers abroad", exit.shown());
        found
            .add(exit.at, &exit.context, capital(&what))
            .grade(severity);
    }
}

fn premium(model: &Model<'_>, found: &mut Findings<'_>) {
    for exit in without_hurdle(model).filter(|e| e.premium) {
        let what = format!("{} reaches premium numbers", exit.shown());
        found.add(exit.at, &exit.context, capital(&what));
    }
}

fn no_limit(model: &Model<'_>, found: &mut Findings<'_>) {
    let mut seen = HashSet::new();
    for exit in model.routes.exits.iter().filter(|e| !e.limited) {
        if seen.insert(exit.dial) {
            let what = "This Dial has neither TIMEOUT(absolute) before it nor L() or S()";
            found.add(exit.dial, &exit.context, what);
        }
    }
}

/// Every step of the dialplan with its context and extension.
fn steps<'m>(model: &'m Model<'_>) -> impl Iterator<Item = (&'m str, &'m Extension, &'m Priority)> {
    model.plan.contexts.iter().flat_map(|c| {
        c.extensions
            .iter()
            .flat_map(move |e| e.steps.iter().map(move |s| (c.name.as_str(), e, s)))
    })
}

/// Digits behind the part of a file name or option.
fn is_code(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

fn weak_pin(model: &Model<'_>, found: &mut Findings<'_>) {
    const SHORTEST: usize = 5;
    for (context, _, step) in steps(model).filter(|(_, _, s)| s.application.is("authenticate")) {
        let pin = step
            .application
            .split()
            .first()
            .copied()
            .unwrap_or_default()
            .trim();
        if is_code(pin) && (pin.len() < SHORTEST || guessable_digits(pin)) {
            found.add(
                step.at,
                context,
                "The PIN that Authenticate() asks for is short or regular",
            );
        }
    }
}

/// Takes `FILTER(…)` out of an expression: what is left is unfiltered.
fn unfiltered(text: &str) -> String {
    let mut out = text.to_owned();
    while let Some(start) = out.find("${FILTER(") {
        let tail = out.get(start..).unwrap_or_default();
        let mut depth = 0_i32;
        let end = tail.char_indices().find_map(|(i, c)| {
            depth += i32::from(c == '{') - i32::from(c == '}');
            (c == '}' && depth == 0).then_some(i + 1)
        });
        out.replace_range(start..start + end.unwrap_or(tail.len()), "");
    }
    out
}

fn injection(model: &Model<'_>, found: &mut Findings<'_>) {
    let mut safe_variables: HashMap<Place, ()> = HashMap::new();
    for (context, extension, step) in steps(model) {
        let open = extension.is_pattern() && extension.pattern.ends_with(['.', '!']);
        if !open || !step.application.is("dial") {
            continue;
        }
        let target = step
            .application
            .split()
            .first()
            .copied()
            .unwrap_or_default()
            .to_owned();
        let rest = unfiltered(&target);
        if rest.contains("${EXTEN") && safe_variables.insert(step.at, ()).is_none() {
            let what = "The pattern ends with . or ! and its Dial uses EXTEN without FILTER()";
            found.add(step.at, context, what);
        }
    }
}

/// Text that a caller chooses.
fn callers_text(text: &str) -> bool {
    const OWN: [&str; 9] = [
        "${CALLERID(",
        "${EXTEN",
        "${SIP_HEADER(",
        "${PJSIP_HEADER(",
        "${SIPCALLID",
        "${CHANNEL(",
        "${CONNECTEDLINE(",
        "${REDIRECTING(",
        "${SIPURI",
    ];
    let rest = unfiltered(text).replace(' ', "");
    OWN.iter().any(|v| rest.contains(v))
}

fn system(model: &Model<'_>, found: &mut Findings<'_>) {
    for (context, extension, step) in steps(model) {
        let application = &step.application;
        let shell = application.is("system") || application.is("trysystem");
        let function = application.arguments.contains("SHELL(");
        let chosen = |text: &str| {
            callers_text(text)
                // A pattern of digits only lets digits through.
                && !(unfiltered(text).contains("${EXTEN")
                    && !unfiltered(text).replace("${EXTEN", "").contains("${")
                    && !extension.pattern.ends_with(['.', '!']))
        };
        if (shell || function) && chosen(&application.arguments) {
            let name = if shell {
                application.name.as_str()
            } else {
                "SHELL"
            };
            let what = format!("{name}() gets text that the caller chooses");
            found.add(step.at, context, what);
        }
    }
}

fn disa(model: &Model<'_>, found: &mut Findings<'_>) {
    const SHORTEST: usize = 6;
    for (context, _, step) in steps(model).filter(|(_, _, s)| s.application.is("disa")) {
        let code = step
            .application
            .split()
            .first()
            .copied()
            .unwrap_or_default()
            .trim();
        if code.is_empty() || code.eq_ignore_ascii_case("no-password") {
            found.add(step.at, context, "DISA() asks for no PIN");
        } else if is_code(code) && (code.len() < SHORTEST || guessable_digits(code)) {
            let what = "The PIN that DISA() asks for is short or regular";
            found.add(step.at, context, what).grade(Severity::Medium);
        }
    }
}

fn voicemail_open(model: &Model<'_>, found: &mut Findings<'_>) {
    for (context, _, step) in steps(model).filter(|(_, _, s)| s.application.is("voicemailmain")) {
        let Application { .. } = step.application;
        let parts = step.application.split();
        let options = parts.get(1).copied().unwrap_or_default();
        if options.contains('s') {
            found.add(
                step.at,
                context,
                "VoiceMailMain() with the option s asks for no PIN",
            );
        }
    }
}

fn voicemail_callback(model: &Model<'_>, found: &mut Findings<'_>) {
    let Some(general) = model.section("voicemail.conf", "general") else {
        return;
    };
    for key in ["callback", "dialout"] {
        let Some(variable) = general.last(key).filter(|v| !v.value.is_empty()) else {
            continue;
        };
        if model
            .routes
            .reached(&model.plan, &variable.value)
            .iter()
            .any(|e| !e.hurdle)
        {
            let what = format!(
                "{key}={} leads to a context with an outside line",
                variable.value
            );
            found.add(variable.at, "general", what);
        }
    }
}

fn catch_all(model: &Model<'_>, found: &mut Findings<'_>) {
    for context in &model.plan.contexts {
        for extension in &context.extensions {
            let all = ["_.", "_!"].contains(&extension.pattern.as_str());
            if let (true, Some(step)) = (all, extension.steps.first()) {
                let what = format!("The pattern {} matches everything", extension.pattern);
                found.add(step.at, &context.name, what);
            }
        }
    }
}

fn trunk_contexts(model: &Model<'_>, found: &mut Findings<'_>) {
    let mut seen = HashSet::new();
    for exit in &model.routes.exits {
        if !seen.insert(exit.context.as_str()) {
            continue;
        }
        let accounts: Vec<&str> = model
            .accounts
            .iter()
            .filter(|a| {
                model
                    .plan
                    .closure(&a.context.0)
                    .iter()
                    .any(|c| c.name == exit.context)
            })
            .map(|a| &*a.name)
            .collect();
        let who = match accounts.as_slice() {
            [] => "no account".to_owned(),
            some => listed(some),
        };
        let what = format!(
            "From context {} a trunk is dialled; it is open to {who}",
            exit.context
        );
        found.add(exit.dial, &exit.context, what);
    }
}

fn elsewhere(model: &Model<'_>, found: &mut Findings<'_>) {
    for (file, module) in [
        ("extensions.ael", "pbx_ael.so"),
        ("extensions.lua", "pbx_lua.so"),
    ] {
        if model.tree.has(file) && model.module_loads(module) {
            let what = format!("{file} holds dialplan that the audit does not read");
            found.add_in(file, 0, "", what);
        }
    }
    if let Some(settings) = model.section("extconfig.conf", "settings") {
        for v in &settings.variables {
            let driver = v.value.split(',').next().unwrap_or_default();
            let what = format!("{} comes from a {driver} database", v.name);
            found.add(v.at, "settings", what);
        }
    }
    for context in &model.plan.contexts {
        for switch in &context.switches {
            let kind = switch.context.split('/').next().unwrap_or_default();
            let what = format!("Context {} asks a {kind} switch as well", context.name);
            found.add(switch.at, &context.name, what);
        }
    }
    if model.routes.truncated {
        let what = "The dialplan has more ways than the audit follows";
        found.add_in("extensions.conf", 0, "", what);
    }
}

fn live_dangerously(model: &Model<'_>, found: &mut Findings<'_>) {
    let Some(s) = model.setting("asterisk.conf", "options", &["live_dangerously"]) else {
        return;
    };
    if super::edit::says(s.value(), true) {
        found.add(s.at, "options", s.shown());
    }
}

fn place(model: &Model<'_>, at: Place) -> String {
    let file = model.tree.file(at).map_or("", |f| &f.shown);
    format!("{file}:{}", at.line)
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars
        .next()
        .map_or_else(String::new, |c| c.to_uppercase().chain(chars).collect())
}
