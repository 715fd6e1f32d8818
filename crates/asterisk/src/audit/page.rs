//! Each rule's page in `docs/audit/`.

use super::{FAMILIES, Rule, Severity};

/// A rule's page, as Markdown.
pub fn page(rule: &Rule) -> String {
    format!(
        "# {}\n\n{}, {}.\n\n{}\n\n## What to do\n\n{}\n\n```ini\n{}\n```\n\n\
         ## A configuration that is reported\n\n{}\n## The same, mended\n\n{}",
        rule.id,
        rule.title,
        match rule.severity {
            Severity::Info => "information".to_owned(),
            Severity::Low | Severity::Medium | Severity::High => {
                format!("{} at worst", rule.severity.name())
            }
        },
        rule.risk,
        rule.advice,
        rule.fix,
        example(rule.bad),
        example(rule.good),
    )
}

fn example(text: &str) -> String {
    let mut out = String::new();
    for part in text.split("== ").filter(|p| !p.trim().is_empty()) {
        let (file, body) = part.split_once(" ==\n").unwrap_or(("", part));
        let body = body.trim_end().replace("; <<", "; <- reported");
        out.push_str(&format!("`{file}`\n\n```ini\n{body}\n```\n\n"));
    }
    out.trim_end().to_owned() + "\n"
}

/// The index page.
pub fn index() -> String {
    let mut out = String::from(
        "# What `sipward audit` looks for\n\nGenerated from the rules; a test keeps it equal to \
         them. `high` and `medium` findings make the command end with 1.\n",
    );
    for (family, rules) in FAMILIES {
        out.push_str(&format!(
            "\n## {family}\n\n| rule | worst | what |\n|---|---|---|\n"
        ));
        for r in *rules {
            let row = format!(
                "| [{0}]({0}.md) | {1} | {2} |\n",
                r.id,
                r.severity.name(),
                r.title
            );
            out.push_str(&row);
        }
    }
    out
}
