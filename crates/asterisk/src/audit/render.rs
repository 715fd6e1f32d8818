//! A report as a table, as JSON, as SARIF.

use serde_json::{Value, json};

use super::{Report, Severity, rules};

/// One JSON document: `{directory, files, findings, summary}`.
pub fn json(report: &Report) -> Value {
    json!(report)
}

/// SARIF 2.1.0, one run. Files are relative to `%SRCROOT%`, which is the audited directory.
pub fn sarif(report: &Report) -> Value {
    let ids: Vec<&str> = rules().map(|r| r.id).collect();
    let rules: Vec<Value> = rules()
        .map(|r| {
            json!({
                "id": r.id,
                "shortDescription": { "text": r.title },
                "fullDescription": { "text": r.risk },
                "help": { "text": format!("{}\n\n{}", r.advice, r.fix) },
                "defaultConfiguration": { "level": level(r.severity) },
                "properties": { "security-severity": score(r.severity), "tags": ["security"] },
            })
        })
        .collect();
    let results: Vec<Value> = report
        .findings
        .iter()
        .map(|f| {
            let mut location = json!({ "artifactLocation": artifact(&f.file) });
            if f.line > 0 {
                location["region"] = json!({ "startLine": f.line });
            }
            json!({
                "ruleId": f.id,
                "ruleIndex": ids.iter().position(|id| *id == f.id),
                "level": level(f.severity),
                "message": { "text": format!("{}\nFix: {}", f.message, f.fix) },
                "locations": [{
                    "physicalLocation": location,
                    "logicalLocations": [{ "name": f.section, "kind": "namespace" }],
                }],
            })
        })
        .collect();
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": {
                "name": "sipward audit",
                "version": env!("CARGO_PKG_VERSION"),
                "rules": rules,
            } },
            "originalUriBaseIds": { "SRCROOT": { "uri": uri(&format!("{}/", report.directory)) } },
            "artifacts": report.files.iter()
                .map(|f| json!({ "location": artifact(f) })).collect::<Vec<_>>(),
            "results": results,
        }],
    })
}

fn level(severity: Severity) -> &'static str {
    match severity {
        Severity::High => "error",
        Severity::Medium => "warning",
        Severity::Low | Severity::Info => "note",
    }
}

/// A CVSS-like figure, as code scanners sort by.
fn score(severity: Severity) -> &'static str {
    match severity {
        Severity::High => "8.0",
        Severity::Medium => "5.0",
        Severity::Low => "3.0",
        Severity::Info => "0.0",
    }
}

fn artifact(file: &str) -> Value {
    match file.starts_with('/') {
        true => json!({ "uri": uri(file) }),
        false => json!({ "uri": escaped(file), "uriBaseId": "SRCROOT" }),
    }
}

fn uri(path: &str) -> String {
    format!("file://{}", escaped(path))
}

/// Percent-encoded where RFC 3986 wants it.
fn escaped(path: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~/".contains(&b);
    path.bytes()
        .map(|b| {
            if plain(b) {
                char::from(b).to_string()
            } else {
                format!("%{b:02X}")
            }
        })
        .collect()
}

/// A readable table: one block per finding, `file:line` first, the summary last.
pub fn table(report: &Report, colour: bool) -> String {
    let paint = |code: &str, text: &str| match colour {
        true => format!("\x1b[{code}m{text}\x1b[0m"),
        false => text.to_owned(),
    };
    let mut out = String::new();
    for finding in &report.findings {
        let code = match finding.severity {
            Severity::High => "1;31",
            Severity::Medium => "1;33",
            Severity::Low => "36",
            Severity::Info => "2",
        };
        let place = match finding.line {
            0 => finding.file.clone(),
            line => format!("{}:{line}", finding.file),
        };
        let section = match finding.section.as_str() {
            "" => String::new(),
            name => format!(" [{name}]"),
        };
        let severity = format!("{:<6}", finding.severity.name());
        let head = paint("1", &printable(&format!("{place}{section}")));
        out.push_str(&format!(
            "{}  {head}  {}\n",
            paint(code, &severity),
            finding.id
        ));
        out.push_str(&format!("        {}\n", printable(&finding.message)));
        for (i, line) in finding.fix.lines().enumerate() {
            let lead = if i == 0 { "fix: " } else { "     " };
            out.push_str(&format!(
                "        {}{}\n",
                paint("32", lead),
                printable(line)
            ));
        }
        out.push('\n');
    }
    let s = report.summary;
    out.push_str(&format!(
        "{} files, {} findings: {} high, {} medium, {} low, {} info\n",
        report.files.len(),
        report.findings.len(),
        s.high,
        s.medium,
        s.low,
        s.info
    ));
    out
}

/// Control characters of the files' text must not reach the terminal.
fn printable(text: &str) -> String {
    let escape = |c: char| match c.is_control() {
        true => c.escape_default().to_string(),
        false => c.to_string(),
    };
    text.chars().map(escape).collect()
}
