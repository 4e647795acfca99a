//! Formats numbers for people.

/// The text in place of a missing value.
pub const MISSING: &str = "—";

/// `value` with `digits` significant digits, in scientific notation below 0.0001 and from ten million. Values that are not
/// finite become `NaN`, `inf` or `-inf`.
pub fn value(value: f64, digits: usize) -> String {
    if value == 0.0 {
        return "0".to_owned();
    }
    if !value.is_finite() {
        return value.to_string();
    }
    let digits = digits.clamp(1, 17);
    match exponent(value, digits) {
        e @ -4..7 => format!("{:.*}", usize::try_from(digits as i32 - 1 - e).unwrap_or(0), value),
        _ => format!("{:.*e}", digits - 1, value),
    }
}

/// `mean ± sd`: the standard deviation with two significant digits, the mean to the same decimal place.
///
/// ```
/// use dash_report::number::spread;
/// assert_eq!(spread(Some(0.040_512), Some(0.001_234)), "0.0405 ± 0.0012");
/// assert_eq!(spread(Some(0.040_512), None), "0.04051");
/// assert_eq!(spread(None, None), "—");
/// ```
pub fn spread(mean: Option<f64>, sd: Option<f64>) -> String {
    let Some(mean) = mean.filter(|m| m.is_finite()) else {
        return MISSING.to_owned();
    };
    let Some(sd) = sd.filter(|s| s.is_finite()).map(f64::abs) else {
        return value(mean, 4);
    };
    if sd == 0.0 {
        return format!("{} ± 0", value(mean, 4));
    }
    let place = exponent(sd, 2) - 1; // decimal place of the spread's second digit
    let lead = exponent(mean, 2).max(place + 1);
    if lead - place > 8 {
        return format!("{} ± {sd:.1e}", value(mean, 9)); // the spread is below the mean's ninth digit
    }
    if !(-4..7).contains(&lead) {
        let digits = usize::try_from(exponent(mean, 2) - place).unwrap_or(0);
        return format!("{mean:.digits$e} ± {sd:.1e}");
    }
    let round = |x: f64| match usize::try_from(-place) {
        Ok(decimals) => format!("{x:.decimals$}"),
        Err(_) => {
            let unit = 10f64.powi(place);
            format!("{:.0}", (x / unit).round_ties_even() * unit)
        }
    };
    format!("{} ± {}", round(mean), round(sd))
}

/// The decimal exponent of a finite `value` after rounding to `digits` significant digits.
fn exponent(value: f64, digits: usize) -> i32 {
    let text = format!("{:.*e}", digits.saturating_sub(1), value);
    text.split_once('e').and_then(|(_, e)| e.parse().ok()).unwrap_or(0)
}

/// A count with thousands separators, rounded to a whole number.
pub fn count(count: f64) -> String {
    if !count.is_finite() {
        return MISSING.to_owned();
    }
    let digits = format!("{count:.0}");
    let (sign, digits) = digits.strip_prefix('-').map_or(("", digits.as_str()), |d| ("-", d));
    let mut text = String::from(sign);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A duration given in seconds, in suitable units.
pub fn duration(seconds: Option<f64>) -> String {
    let Some(s) = seconds.filter(|s| s.is_finite() && *s >= 0.0) else {
        return MISSING.to_owned();
    };
    let whole = s.round();
    let part = |of: f64, unit: f64| ((of / unit).floor(), ((of % unit) / (unit / 60.0)).floor());
    match s {
        _ if s < 9.995 => format!("{s:.2} s"),
        _ if s < 99.95 => format!("{s:.1} s"),
        _ if whole < 3600.0 => {
            let (minutes, seconds) = part(whole, 60.0);
            format!("{minutes} min {seconds} s")
        }
        _ if whole < 172_800.0 => {
            let (hours, minutes) = part(whole, 3600.0);
            format!("{hours} h {minutes} min")
        }
        _ => format!("{:.1} d", s / 86_400.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_keep_their_significant_digits() {
        let cases = [
            (0.049_127, 4, "0.04913"),
            (12.0, 4, "12.00"),
            (123_456.7, 4, "123457"),
            (0.000_012_345_6, 4, "1.235e-5"),
            (9.9996, 4, "10.00"),
            (0.0, 4, "0"),
            (-0.0, 4, "0"),
            (-0.5, 2, "-0.50"),
            (f64::NAN, 4, "NaN"),
            (f64::INFINITY, 4, "inf"),
            (f64::NEG_INFINITY, 4, "-inf"),
        ];
        for (number, digits, expected) in cases {
            assert_eq!(value(number, digits), expected);
        }
    }

    #[test]
    fn the_spread_decides_the_place() {
        let cases = [
            (0.0405, 0.00123, "0.0405 ± 0.0012"),
            (12.3456, 0.996, "12.3 ± 1.0"), // 0.996 rounds to 1.0, which has its digits at tenths
            (1234.5, 123.4, "1230 ± 120"),
            (1.5, 20.0, "2 ± 20"),
            (0.0, 0.01, "0.000 ± 0.010"),
            (3.0, 0.0, "3.000 ± 0"),
            (4.053e-7, 1.234e-9, "4.053e-7 ± 1.2e-9"),
            (5.0e12, 1.0e10, "5.000e12 ± 1.0e10"),
            (1.0, 1e-12, "1.00000000 ± 1.0e-12"),
            (-0.51, 0.012, "-0.510 ± 0.012"),
        ];
        for (mean, sd, expected) in cases {
            assert_eq!(spread(Some(mean), Some(sd)), expected);
        }
        assert_eq!(spread(Some(f64::NAN), Some(1.0)), MISSING);
    }

    #[test]
    fn durations_and_counts() {
        let cases = [
            (Some(0.0), "0.00 s"),
            (Some(9.999), "10.0 s"),
            (Some(59.96), "60.0 s"),
            (Some(125.4), "2 min 5 s"),
            (Some(3599.7), "1 h 0 min"),
            (Some(7384.0), "2 h 3 min"),
            (Some(200_000.0), "2.3 d"),
            (None, MISSING),
            (Some(f64::NAN), MISSING),
        ];
        for (seconds, expected) in cases {
            assert_eq!(duration(seconds), expected);
        }
        assert_eq!(count(0.0), "0");
        assert_eq!(count(999.0), "999");
        assert_eq!(count(1000.0), "1,000");
        assert_eq!(count(2_748_890.5), "2,748,890");
    }

    proptest::proptest! {
        #[test]
        fn any_number_has_a_text(a in proptest::num::f64::ANY, b in proptest::num::f64::ANY) {
            for text in [spread(Some(a), Some(b)), value(a, 4), count(a), duration(Some(a))] {
                proptest::prop_assert!(!text.is_empty());
            }
        }

        #[test]
        fn short_texts_for_usual_numbers(mean in 1e-6f64..1e6, ratio in 1e-6f64..1.0) {
            proptest::prop_assert!(spread(Some(mean), Some(mean * ratio)).chars().count() <= 25);
        }
    }
}
