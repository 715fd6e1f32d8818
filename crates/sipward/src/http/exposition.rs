//! Prometheus' text format, 0.0.4, and OpenMetrics 1.0.0. They differ in how the family of a counter
//! is called, and in that the latter says where it ends.

use std::fmt::{Display, Write as _};

/// Which of the formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// What everybody reads.
    Prometheus,
    /// What has to be asked for.
    OpenMetrics,
}

impl Format {
    /// The better one that a scraper with these `Accept` headers reads. Which of them it would rather
    /// have is not looked at: the figures are the same.
    #[must_use]
    pub fn accepted<'a>(accept: impl IntoIterator<Item = &'a str>) -> Self {
        let mut ranges = accept.into_iter().flat_map(|header| header.split(','));
        if ranges.any(is_openmetrics) {
            Self::OpenMetrics
        } else {
            Self::Prometheus
        }
    }

    /// As the header `Content-Type` has it.
    #[must_use]
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// Families as they are written.
#[derive(Debug)]
pub struct Exposition {
    format: Format,
    text: String,
}

/// A family, whose samples follow.
#[derive(Debug)]
pub struct Family<'a> {
    name: String,
    text: &'a mut String,
}

impl Exposition {
    /// Nothing yet.
    #[must_use]
    pub const fn new(format: Format) -> Self {
        let text = String::new();
        Self { format, text }
    }

    /// What only grows; its samples are called `{name}_total`. The help has no backslash, quote or
    /// end of a line.
    pub fn counter(&mut self, name: &str, help: &'static str) -> Family<'_> {
        let samples = format!("{name}_total");
        match self.format {
            Format::Prometheus => self.family("counter", &samples, help, samples.clone()),
            Format::OpenMetrics => self.family("counter", name, help, samples),
        }
    }

    /// What goes up and down.
    pub fn gauge(&mut self, name: &str, help: &'static str) -> Family<'_> {
        self.family("gauge", name, help, name.to_owned())
    }

    /// All of it.
    #[must_use]
    pub fn finish(mut self) -> String {
        match self.format {
            Format::Prometheus => {}
            Format::OpenMetrics => self.text.push_str("# EOF\n"),
        }
        self.text
    }

    fn family(&mut self, kind: &str, name: &str, help: &str, samples: String) -> Family<'_> {
        // Writing to a string does not fail.
        let _ = write!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
        Family {
            name: samples,
            text: &mut self.text,
        }
    }
}

impl Family<'_> {
    /// One sample; no other of the family has these labels.
    pub fn sample(&mut self, labels: &[(&str, &str)], value: impl Display) {
        self.text.push_str(&self.name);
        for (number, (name, value)) in labels.iter().enumerate() {
            self.text.push(if number == 0 { '{' } else { ',' });
            self.text.push_str(name);
            self.text.push_str("=\"");
            value.chars().for_each(|c| push_escaped(self.text, c));
            self.text.push('"');
        }
        let end = if labels.is_empty() { "" } else { "}" };
        let _ = writeln!(self.text, "{end} {value}");
    }

    /// A sample for each of these values of a label, of which one is the case.
    pub fn states(&mut self, labels: &[(&str, &str)], name: &str, all: &[&str], is: &str) {
        for state in all {
            let labels = [labels, &[(name, state)]].concat();
            self.sample(&labels, u8::from(*state == is));
        }
    }
}

/// Whether a media range names it, and does not refuse it (RFC 9110 section 12.5.1).
fn is_openmetrics(range: &str) -> bool {
    let mut parts = range.split(';').map(str::trim);
    let is_named = parts
        .next()
        .is_some_and(|name| name.eq_ignore_ascii_case("application/openmetrics-text"));
    let refuses = |(name, value): (&str, &str)| {
        name.trim().eq_ignore_ascii_case("q") && value.trim().parse::<f64>() == Ok(0.0)
    };
    is_named && !parts.filter_map(|part| part.split_once('=')).any(refuses)
}

fn push_escaped(text: &mut String, c: char) {
    match c {
        '\\' => text.push_str("\\\\"),
        '"' => text.push_str("\\\""),
        '\n' => text.push_str("\\n"),
        c => text.push(c),
    }
}

#[cfg(test)]
mod tests {
    use test_case::test_case;

    use super::*;

    fn written(format: Format) -> String {
        let mut out = Exposition::new(format);
        let mut packets = out.counter("packets", "Packets.");
        packets.sample(&[("reason", "a\\b\"c\nd"), ("verdict", "é")], u64::MAX);
        packets.sample(&[("reason", ""), ("verdict", "passed")], 0);
        out.gauge("bans", "Bans.").sample(&[], 7);
        let mut state = out.gauge("sensor_state", "One is 1.");
        state.states(&[("sensor", "ami")], "state", &["on", "off"], "off");
        out.finish()
    }

    #[test]
    fn a_family_is_told_of_once_and_no_label_ends_before_its_end() {
        assert_eq!(
            written(Format::Prometheus),
            "# HELP packets_total Packets.\n\
             # TYPE packets_total counter\n\
             packets_total{reason=\"a\\\\b\\\"c\\nd\",verdict=\"é\"} 18446744073709551615\n\
             packets_total{reason=\"\",verdict=\"passed\"} 0\n\
             # HELP bans Bans.\n\
             # TYPE bans gauge\n\
             bans 7\n\
             # HELP sensor_state One is 1.\n\
             # TYPE sensor_state gauge\n\
             sensor_state{sensor=\"ami\",state=\"on\"} 0\n\
             sensor_state{sensor=\"ami\",state=\"off\"} 1\n"
        );
    }

    #[test]
    fn openmetrics_names_the_family_of_a_counter_without_its_suffix_and_ends() {
        let plain = written(Format::Prometheus)
            .replace("HELP packets_total", "HELP packets")
            .replace("TYPE packets_total", "TYPE packets");
        assert_eq!(written(Format::OpenMetrics), plain + "# EOF\n");
    }

    #[test_case(&["application/openmetrics-text;version=1.0.0;q=0.5,text/plain;q=0.3,*/*;q=0.1"] => Format::OpenMetrics; "Prometheus")]
    #[test_case(&["text/plain", "application/openmetrics-text"] => Format::OpenMetrics; "who asks in two headers")]
    #[test_case(&["Application/OpenMetrics-Text; Q=0.1"] => Format::OpenMetrics; "who writes it otherwise")]
    #[test_case(&["application/openmetrics-text;q=0, text/plain"] => Format::Prometheus; "who refuses it")]
    #[test_case(&["application/openmetrics-text; q=0.000"] => Format::Prometheus; "who refuses it at length")]
    #[test_case(&["application/openmetrics-text-2"] => Format::Prometheus; "who asks for another one")]
    #[test_case(&["text/plain; version=0.0.4"] => Format::Prometheus; "who asks for the older one")]
    #[test_case(&["*/*"] => Format::Prometheus; "who reads anything")]
    #[test_case(&[] => Format::Prometheus; "who says nothing")]
    fn the_format_is_for(accept: &[&str]) -> Format {
        Format::accepted(accept.iter().copied())
    }
}
