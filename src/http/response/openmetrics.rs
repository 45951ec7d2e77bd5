//! Metrics as OpenMetrics 1.0 text, which the `prometheus` crate has no encoder for.
//!
//! It differs from the Prometheus text format in that a counter's family is named without its
//! `_total`, quotes are escaped in help texts, bounds are written as floats, and the text ends
//! with `# EOF` (<https://prometheus.io/docs/specs/om/open_metrics_spec/>).

use std::fmt::{self, Write};

use prometheus::proto::{LabelPair, Metric, MetricFamily, MetricType};

/// The media type of this format.
pub(crate) const OPENMETRICS_TEXT: &str =
    "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The text of all families.
pub(crate) fn encode(families: &[MetricFamily]) -> String {
    let mut out = String::new();
    // Writing to a string can't fail.
    for family in families {
        let _ = write_family(family, &mut out);
    }
    out.push_str("# EOF\n");
    out
}

fn write_family(family: &MetricFamily, out: &mut String) -> fmt::Result {
    let kind = family.get_field_type();
    let full_name = family.name();
    let name = match kind {
        MetricType::COUNTER => full_name.strip_suffix("_total").unwrap_or(full_name),
        _ => full_name,
    };
    writeln!(out, "# HELP {name} {}", Escaped(family.help()))?;
    writeln!(out, "# TYPE {name} {}", type_word(kind))?;
    for metric in family.get_metric() {
        write_metric(name, kind, metric, out)?;
    }
    Ok(())
}

fn type_word(kind: MetricType) -> &'static str {
    match kind {
        MetricType::COUNTER => "counter",
        MetricType::GAUGE => "gauge",
        MetricType::HISTOGRAM => "histogram",
        MetricType::SUMMARY => "summary",
        MetricType::UNTYPED => "unknown",
    }
}

fn write_metric(name: &str, kind: MetricType, metric: &Metric, out: &mut String) -> fmt::Result {
    let labels = metric.get_label();
    match kind {
        MetricType::COUNTER => {
            let value = metric.get_counter().get_value();
            write_sample(out, &format!("{name}_total"), labels, None, value)
        }
        MetricType::GAUGE => write_sample(out, name, labels, None, metric.get_gauge().get_value()),
        MetricType::HISTOGRAM => write_histogram(name, metric, out),
        // No registered metric is of these types.
        MetricType::SUMMARY | MetricType::UNTYPED => Ok(()),
    }
}

fn write_histogram(name: &str, metric: &Metric, out: &mut String) -> fmt::Result {
    let histogram = metric.get_histogram();
    let labels = metric.get_label();
    let bucket_name = format!("{name}_bucket");
    let count = histogram.get_sample_count() as f64;
    for bucket in histogram.get_bucket() {
        let bound = bucket.upper_bound();
        if bound.is_finite() {
            let below = bucket.cumulative_count() as f64;
            write_sample(out, &bucket_name, labels, Some(bound), below)?;
        }
    }
    write_sample(out, &bucket_name, labels, Some(f64::INFINITY), count)?;
    write_sample(out, &format!("{name}_count"), labels, None, count)?;
    write_sample(out, &format!("{name}_sum"), labels, None, histogram.get_sample_sum())
}

fn write_sample(
    out: &mut String,
    name: &str,
    labels: &[LabelPair],
    bound: Option<f64>,
    value: f64,
) -> fmt::Result {
    out.push_str(name);
    let mut separator = '{';
    for label in labels {
        write!(out, "{separator}{}=\"{}\"", label.name(), Escaped(label.value()))?;
        separator = ',';
    }
    if let Some(bound) = bound {
        // `{:?}` keeps the `.0` of whole numbers, as the specification requires for bounds.
        let bound = if bound.is_infinite() { "+Inf".into() } else { format!("{bound:?}") };
        write!(out, "{separator}le=\"{bound}\"")?;
        separator = ',';
    }
    if separator == ',' {
        out.push('}');
    }
    writeln!(out, " {}", Number(value))
}

/// A value in the format's notation, which has its own names for infinities and NaN.
struct Number(f64);

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            value if value.is_nan() => f.write_str("NaN"),
            f64::INFINITY => f.write_str("+Inf"),
            f64::NEG_INFINITY => f.write_str("-Inf"),
            value => write!(f, "{value}"),
        }
    }
}

/// Text with backslashes, quotes and line breaks escaped.
struct Escaped<'a>(&'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            match c {
                '\\' => f.write_str(r"\\")?,
                '"' => f.write_str("\\\"")?,
                '\n' => f.write_str(r"\n")?,
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use prometheus::{Gauge, HistogramOpts, HistogramVec, IntCounterVec, Opts, Registry};

    use super::*;

    #[test]
    fn the_text_follows_the_specification() {
        let registry = Registry::new();
        let counter = IntCounterVec::new(Opts::new("a_total", "Says \"a\"\n\\"), &["t"]).unwrap();
        counter.with_label_values(&["x\"y\\\n"]).inc();
        let gauge = Gauge::new("b", "B").unwrap();
        gauge.set(f64::INFINITY);
        let opts = HistogramOpts::new("c_seconds", "C").buckets(vec![0.5, 1.0]);
        let histogram = HistogramVec::new(opts, &["r"]).unwrap();
        histogram.with_label_values(&["z"]).observe(0.75);
        registry.register(Box::new(counter)).unwrap();
        registry.register(Box::new(gauge)).unwrap();
        registry.register(Box::new(histogram)).unwrap();
        let expected = r#"# HELP a Says \"a\"\n\\
# TYPE a counter
a_total{t="x\"y\\\n"} 1
# HELP b B
# TYPE b gauge
b +Inf
# HELP c_seconds C
# TYPE c_seconds histogram
c_seconds_bucket{r="z",le="0.5"} 0
c_seconds_bucket{r="z",le="1.0"} 1
c_seconds_bucket{r="z",le="+Inf"} 1
c_seconds_count{r="z"} 1
c_seconds_sum{r="z"} 0.75
# EOF
"#;
        assert_eq!(encode(&registry.gather()), expected);
    }
}
