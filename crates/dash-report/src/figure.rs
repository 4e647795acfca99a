//! Draws figures as SVG. The same body is used inline in the page, where CSS variables adapt it to light and dark mode, and as a
//! separate file on a white background.

use crate::escape::xml as escape;
use dash_core::architecture::Architecture;

mod axis;
pub(crate) mod chart;
pub(crate) mod curves;
pub(crate) mod pattern;
pub(crate) mod raster;
pub(crate) mod samples;
pub(crate) mod softmax;
pub(crate) mod time;

/// Styles of the elements in a figure; the page defines the variables.
pub(crate) const STYLE: &str = include_str!("figure/style.css");

/// Values of the variables on a white background. The series have the colours of Okabe and Ito (2008), which are
/// distinguishable with any colour vision, except their yellow, which is hard to see on white.
const LIGHT: [(&str, &str); 11] = [
    ("--ink", "#1f2328"),
    ("--muted", "#59636e"),
    ("--rule", "#d1d9e0"),
    ("--surface", "#ffffff"),
    ("--s0", "#0072b2"),
    ("--s1", "#d55e00"),
    ("--s2", "#009e73"),
    ("--s3", "#cc79a7"),
    ("--s4", "#e69f00"),
    ("--s5", "#56b4e9"),
    ("--s6", "#1f2328"),
];

/// Number of distinct series colours.
const COLOURS: usize = 7;

/// Class that fills with the colour of a series.
fn fill(series: usize) -> String {
    format!("f{}", series % COLOURS)
}

/// Class that strokes with the colour of a series.
fn stroke(series: usize) -> String {
    format!("s{}", series % COLOURS)
}

/// The anchor of a text.
#[derive(Clone, Copy)]
enum Anchor {
    Start,
    Middle,
    End,
}

/// A drawing; lengths are pixels, y grows downwards. All text passes `escape` here.
pub(crate) struct Drawing {
    width: f64,
    height: f64,
    body: String,
}

impl Drawing {
    fn new(width: f64, height: f64) -> Self {
        Drawing { width, height, body: String::new() }
    }

    /// A line from `a` to `b`.
    fn line(&mut self, class: &str, a: (f64, f64), b: (f64, f64)) {
        self.body += &format!(
            "<line class=\"{class}\" x1=\"{}\" y1=\"{}\" x2=\"{}\" y2=\"{}\"/>\n",
            n(a.0),
            n(a.1),
            n(b.0),
            n(b.1)
        );
    }

    /// A rectangle with its upper left corner at `at`; `title` is its tooltip.
    fn rect(&mut self, class: &str, at: (f64, f64), size: (f64, f64), opacity: f64, title: &str) {
        let opacity = if opacity < 1.0 { format!(" fill-opacity=\"{}\"", n(opacity)) } else { String::new() };
        self.body += &format!(
            "<rect class=\"{class}\" x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\"{opacity}",
            n(at.0),
            n(at.1),
            n(size.0),
            n(size.1)
        );
        self.close("rect", title);
    }

    /// A small disc.
    fn dot(&mut self, class: &str, at: (f64, f64), title: &str) {
        self.body += &format!("<circle class=\"{class}\" cx=\"{}\" cy=\"{}\" r=\"2.5\"", n(at.0), n(at.1));
        self.close("circle", title);
    }

    /// A polyline for each run of points; `dash` as in `stroke-dasharray`.
    fn curve(&mut self, class: &str, dash: &str, runs: &[Vec<(f64, f64)>], title: &str) {
        let mut path = String::new();
        for run in runs {
            for (i, &(x, y)) in run.iter().enumerate() {
                path += &format!("{}{} {}", if i == 0 { 'M' } else { 'L' }, n(x), n(y));
            }
        }
        if path.is_empty() {
            return;
        }
        let dash = if dash.is_empty() { String::new() } else { format!(" stroke-dasharray=\"{dash}\"") };
        self.body += &format!("<path class=\"curve {class}\" d=\"{path}\"{dash}");
        self.close("path", title);
    }

    /// A PNG file as a picture; its pixels stay sharp.
    fn image(&mut self, png: &[u8], at: (f64, f64), size: (f64, f64), title: &str) {
        use base64::Engine;
        self.body += &format!(
            "<image x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" preserveAspectRatio=\"none\" \
             style=\"image-rendering: pixelated\" href=\"data:image/png;base64,{}\"",
            n(at.0),
            n(at.1),
            n(size.0),
            n(size.1),
            base64::engine::general_purpose::STANDARD.encode(png)
        );
        self.close("image", title);
    }

    fn close(&mut self, element: &str, title: &str) {
        self.body += &match title {
            "" => "/>\n".to_owned(),
            _ => format!("><title>{}</title></{element}>\n", escape(title)),
        };
    }

    /// Text of class `t` (ink), `m` (muted) or `h` (heading).
    fn text(&mut self, class: &str, anchor: Anchor, at: (f64, f64), text: &str) {
        self.turned(class, anchor, at, 0, text);
    }

    /// Text turned by `degrees` clockwise around `at`.
    fn turned(&mut self, class: &str, anchor: Anchor, at: (f64, f64), degrees: i32, text: &str) {
        let anchor = match anchor {
            Anchor::Start => "",
            Anchor::Middle => " text-anchor=\"middle\"",
            Anchor::End => " text-anchor=\"end\"",
        };
        let (x, y) = (n(at.0), n(at.1));
        let turn = match degrees {
            0 => String::new(),
            _ => format!(" transform=\"rotate({degrees} {x} {y})\""),
        };
        self.body +=
            &format!("<text class=\"{class}\" x=\"{x}\" y=\"{y}\"{anchor}{turn}>{}</text>\n", escape(text));
    }

    /// The drawing as an element of a page; `alt` says in words what it shows.
    pub(crate) fn inline(&self, alt: &str) -> String {
        self.wrap(&format!("class=\"figure\" role=\"img\" aria-label=\"{}\"", escape(alt)), "")
    }

    /// The drawing as a file.
    pub(crate) fn standalone(&self, alt: &str) -> Vec<u8> {
        let mut style = STYLE.to_owned();
        for (variable, colour) in LIGHT {
            style = style.replace(&format!("var({variable})"), colour);
        }
        let head = format!(
            "<title>{}</title>\n<style>\n{style}</style>\n<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n",
            escape(alt)
        );
        let mut file = self.wrap("class=\"figure\" role=\"img\" xmlns=\"http://www.w3.org/2000/svg\"", &head);
        file.push('\n');
        file.into_bytes()
    }

    fn wrap(&self, attributes: &str, head: &str) -> String {
        let (w, h) = (n(self.width), n(self.height));
        format!(
            "<svg {attributes} width=\"{w}\" height=\"{h}\" viewBox=\"0 0 {w} {h}\">\n{head}{}</svg>",
            self.body
        )
    }
}

/// A coordinate with at most two decimals. What is not finite must not reach a drawing; if it does,
/// it becomes 0 rather than invalid SVG.
fn n(v: f64) -> String {
    let v = if v.is_finite() { v } else { 0.0 };
    let text = format!("{v:.2}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" { "0".to_owned() } else { text.to_owned() }
}

/// At most `max` characters of `text`, the end replaced by an ellipsis.
fn shorten(text: &str, max: usize) -> String {
    if text.chars().count() <= max {
        return text.to_owned();
    }
    let head: String = text.chars().take(max.saturating_sub(1)).collect();
    head + "…"
}

/// For each architecture, whether the names of its layers must be written below it: names that the
/// next one repeats are written once, below the last.
fn named(found: &[(u64, &Architecture)]) -> Vec<bool> {
    let same = |a: &Architecture, b: &Architecture| {
        a.layers.iter().map(|l| &l.name).eq(b.layers.iter().map(|l| &l.name))
    };
    let next = found.iter().skip(1).map(Some).chain([None]);
    found.iter().zip(next).map(|((_, a), next)| next.is_none_or(|(_, b)| !same(a, b))).collect()
}

/// Estimated width of a text of class `t` in pixels; fonts are unknown.
fn width_of(text: &str) -> f64 {
    6.6 * text.chars().count() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn coordinates_are_short_and_finite() {
        assert_eq!(
            ["0", "1.5", "-2.33", "0", "100"],
            [0.0, 1.5, -2.333, f64::NAN, 100.0].map(n).each_ref().map(String::as_str)
        );
        assert_eq!(n(-0.001), "0");
    }

    #[test]
    fn text_cannot_leave_its_element() {
        let mut drawing = Drawing::new(10.0, 10.0);
        drawing.text("t", Anchor::Start, (0.0, 0.0), "</text><script>\u{0}\u{1b}&\"'");
        let file = String::from_utf8(drawing.standalone("a \"<b>\"")).unwrap();
        let parsed = roxmltree::Document::parse(&file).unwrap();
        let text = parsed.descendants().find(|n| n.has_tag_name(("http://www.w3.org/2000/svg", "text")));
        assert_eq!(text.and_then(|t| t.text()), Some("</text><script>\u{fffd}\u{fffd}&\"'"));
        assert!(!file.contains("var("), "a file has no page to define variables");
    }
}
