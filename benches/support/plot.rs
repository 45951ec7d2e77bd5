//! Plots as SVG without a library: grouped bars, and lines over logarithmic axes.
//!
//! The colours suit light and dark pages: the white background is part of the image.

use std::fmt::Write as _;

use super::samples::figure;

const WIDTH: f64 = 760.0;
/// One per series, from Okabe and Ito's palette, which colour-blind readers can distinguish.
const COLOURS: [&str; 6] = ["#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00"];

/// A bar chart: groups of bars, one bar per series.
pub(crate) struct Bars {
    title: String,
    unit: String,
    groups: Vec<(String, Vec<(String, f64)>)>,
}

impl Bars {
    pub(crate) fn new(title: impl Into<String>, unit: impl Into<String>) -> Self {
        Self { title: title.into(), unit: unit.into(), groups: Vec::new() }
    }

    /// Adds a group; each bar is a series and a value.
    pub(crate) fn group(&mut self, label: impl Into<String>, bars: Vec<(String, f64)>) {
        self.groups.push((label.into(), bars));
    }

    fn series(&self) -> Vec<&str> {
        let mut names = Vec::new();
        for (name, _) in self.groups.iter().flat_map(|(_, bars)| bars) {
            if !names.contains(&name.as_str()) {
                names.push(name);
            }
        }
        names
    }

    pub(crate) fn to_svg(&self) -> String {
        const BAR: f64 = 16.0;
        const LEFT: f64 = 190.0;
        const RIGHT: f64 = 90.0;
        let series = self.series();
        let longest = self.groups.iter().flat_map(|(_, bars)| bars).map(|(_, v)| *v);
        let longest = longest.filter(|v| v.is_finite()).fold(f64::MIN_POSITIVE, f64::max);
        let mut body = String::new();
        let mut y = legend(&mut body, &series, 52.0);
        for (label, bars) in &self.groups {
            let height = BAR * bars.len() as f64;
            text(&mut body, LEFT - 8.0, y + height / 2.0 + 4.0, "end", label);
            for (name, value) in bars {
                let length = (WIDTH - LEFT - RIGHT) * (value / longest).clamp(0.0, 1.0);
                let colour = colour(&series, name);
                let _ = writeln!(
                    body,
                    r#"<rect x="{LEFT}" y="{y:.1}" width="{length:.1}" height="{:.1}" fill="{colour}"/>"#,
                    BAR - 2.0
                );
                text(&mut body, LEFT + length + 6.0, y + BAR - 4.0, "start", &figure(*value));
                y += BAR;
            }
            y += BAR / 2.0;
        }
        page(&format!("{} ({})", self.title, self.unit), y + 8.0, &body)
    }
}

/// A line chart; both axes are logarithmic.
pub(crate) struct Lines {
    title: String,
    x: String,
    y: String,
    series: Vec<(String, Vec<(f64, f64)>)>,
}

impl Lines {
    pub(crate) fn new(title: &str, x: &str, y: &str) -> Self {
        Self { title: title.into(), x: x.into(), y: y.into(), series: Vec::new() }
    }

    pub(crate) fn line(&mut self, name: impl Into<String>, points: Vec<(f64, f64)>) {
        self.series.push((name.into(), points));
    }

    pub(crate) fn to_svg(&self) -> String {
        const HEIGHT: f64 = 260.0;
        const LEFT: f64 = 70.0;
        let names = self.series.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>();
        let mut body = String::new();
        let top = legend(&mut body, &names, 52.0) + 6.0;
        let points = || self.series.iter().flat_map(|(_, points)| points.iter().copied());
        let across = Axis::over(points().map(|(x, _)| x), LEFT, WIDTH - 30.0);
        let up = Axis::over(points().map(|(_, y)| y), top + HEIGHT, top);
        for value in across.decades() {
            let x = across.place(value);
            line(&mut body, (x, top), (x, top + HEIGHT));
            text(&mut body, x, top + HEIGHT + 18.0, "middle", &decade(value));
        }
        for value in up.decades() {
            let y = up.place(value);
            line(&mut body, (LEFT, y), (WIDTH - 30.0, y));
            text(&mut body, LEFT - 6.0, y + 4.0, "end", &decade(value));
        }
        text(&mut body, f64::midpoint(LEFT, WIDTH), top + HEIGHT + 38.0, "middle", &self.x);
        text(&mut body, 8.0, top - 8.0, "start", &self.y);
        for (name, points) in &self.series {
            let colour = colour(&names, name);
            let places = points.iter().map(|(x, y)| (across.place(*x), up.place(*y)));
            let mut path = String::new();
            for (x, y) in places {
                let _ = write!(path, "{x:.1},{y:.1} ");
                let _ =
                    writeln!(body, r#"<circle cx="{x:.1}" cy="{y:.1}" r="3" fill="{colour}"/>"#);
            }
            let _ = writeln!(
                body,
                r#"<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>"#
            );
        }
        page(&self.title, top + HEIGHT + 50.0, &body)
    }
}

/// A logarithmic axis over whole decades.
struct Axis {
    first: i32,
    last: i32,
    from: f64,
    to: f64,
}

impl Axis {
    #[expect(clippy::cast_possible_truncation, reason = "decades of measured figures are few")]
    fn over(values: impl Iterator<Item = f64>, from: f64, to: f64) -> Self {
        let (mut low, mut high) = (f64::MAX, f64::MIN_POSITIVE);
        for value in values.filter(|v| v.is_finite() && *v > 0.0) {
            low = low.min(value);
            high = high.max(value);
        }
        let first = low.min(high).log10().floor() as i32;
        let last = (high.log10().ceil() as i32).max(first + 1);
        Self { first, last, from, to }
    }

    fn decades(&self) -> impl Iterator<Item = f64> {
        (self.first..=self.last).map(|power| 10_f64.powi(power))
    }

    fn place(&self, value: f64) -> f64 {
        let (first, last) = (f64::from(self.first), f64::from(self.last));
        let part = (value.max(f64::MIN_POSITIVE).log10() - first) / (last - first);
        self.from + (self.to - self.from) * part.clamp(0.0, 1.0)
    }
}

fn decade(value: f64) -> String {
    let units = [(1e9, "G"), (1e6, "M"), (1e3, "k")];
    let unit = units.into_iter().find(|(least, _)| value >= *least);
    unit.map_or_else(|| format!("{value}"), |(least, unit)| format!("{}{unit}", value / least))
}

fn colour(series: &[&str], name: &str) -> &'static str {
    let place = series.iter().position(|other| *other == name).unwrap_or(0);
    COLOURS.get(place % COLOURS.len()).copied().unwrap_or("black")
}

/// Draws the legend; returns the y coordinate below it.
fn legend(body: &mut String, series: &[&str], y: f64) -> f64 {
    let mut x = 12.0;
    let mut y = y;
    for name in series {
        let width = 26.0 + 7.2 * name.chars().count() as f64;
        if x + width > WIDTH && x > 12.0 {
            (x, y) = (12.0, y + 18.0);
        }
        let fill = colour(series, name);
        let _ = writeln!(
            body,
            r#"<rect x="{x:.1}" y="{:.1}" width="11" height="11" fill="{fill}"/>"#,
            y - 10.0
        );
        text(body, x + 16.0, y, "start", name);
        x += width;
    }
    y + 18.0
}

fn line(body: &mut String, from: (f64, f64), to: (f64, f64)) {
    let _ = writeln!(
        body,
        r##"<line x1="{:.1}" y1="{:.1}" x2="{:.1}" y2="{:.1}" stroke="#ddd"/>"##,
        from.0, from.1, to.0, to.1
    );
}

fn text(body: &mut String, x: f64, y: f64, anchor: &str, text: &str) {
    let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let _ = writeln!(body, r#"<text x="{x:.1}" y="{y:.1}" text-anchor="{anchor}">{text}</text>"#);
}

fn page(title: &str, height: f64, body: &str) -> String {
    let mut head = String::new();
    text(&mut head, 12.0, 26.0, "start", title);
    let head = head.replacen("<text ", r#"<text font-size="16" font-weight="bold" "#, 1);
    format!(
        r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0}" width="{WIDTH}" height="{height:.0}" font-family="sans-serif" font-size="12" fill="#222">
<rect width="100%" height="100%" fill="#fff"/>
{head}{body}</svg>
"##
    )
}
