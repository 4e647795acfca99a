//! The HTML page.

use super::*;

#[test]
fn the_page_is_well_formed_accessible_and_alone() {
    let artifacts = render(&input()).unwrap();
    let page = text(&artifacts, "index.html");
    let tree = parse(&page);
    let named = |name: &'static str| tree.descendants().filter(move |n| n.tag_name().name() == name);

    assert_eq!(named("script").count(), 0);
    for attribute in tree.descendants().flat_map(|n| n.attributes()) {
        assert!(!attribute.value().contains("//"), "{attribute:?} leads to a network");
        assert!(!attribute.name().starts_with("on"), "{attribute:?} is a script");
    }
    assert!(!page.contains("@import") && !page.contains("url("));

    // Headings begin with one h1 and never skip a level on the way down.
    let level = |n: roxmltree::Node<'_, '_>| match n.tag_name().name() {
        "h1" => Some(1),
        "h2" => Some(2),
        "h3" => Some(3),
        _ => None,
    };
    let levels: Vec<i32> = tree.descendants().filter_map(level).collect();
    assert_eq!(levels.iter().filter(|l| **l == 1).count(), 1);
    assert_eq!(levels[0], 1);
    assert!(levels.windows(2).all(|w| w[1] <= w[0] + 1), "{levels:?}");

    for table in named("table") {
        let has =
            |name: &str| table.descendants().any(|n| n.tag_name().name() == name && !content(n).is_empty());
        assert!(has("caption"));
        let cells = table.descendants().filter(|n| n.tag_name().name() == "th");
        assert!(cells.into_iter().all(|n| n.has_attribute("scope")));
        let width = table.descendants().filter(|n| n.attribute("scope") == Some("col")).count();
        let rows = table.descendants().filter(|n| n.tag_name().name() == "tr");
        assert!(rows.into_iter().all(|r| r.children().filter(|c| c.is_element()).count() == width));
    }
    assert_eq!(named("svg").count(), 5);
    assert!(named("svg").all(|n| n.attribute("role") == Some("img") && n.has_attribute("aria-label")));

    let ids: Vec<&str> = tree.descendants().filter_map(|n| n.attribute("id")).collect();
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len());
    let files: BTreeSet<&str> = artifacts.iter().map(|a| a.path.as_str()).collect();
    for link in named("a").filter_map(|n| n.attribute("href")) {
        let leads = link.strip_prefix('#').map_or(files.contains(link), |id| ids.contains(&id));
        assert!(leads, "dead link {link}");
    }
    for figure in artifacts.iter().filter(|a| a.path.ends_with(".svg")) {
        parse(std::str::from_utf8(&figure.bytes).unwrap());
    }
}

#[test]
fn the_page_shows_what_it_was_given() {
    let page = text(&render(&input()).unwrap(), "index.html");
    let tree = parse(&page);
    let bold: Vec<String> = tree
        .descendants()
        .filter(|n| n.attribute("class").is_some_and(|c| c.split(' ').any(|c| c == "best")))
        .map(content)
        .collect();
    assert_eq!(bold, ["dash", "0.0413 ± 0.0011"]);
    let all = content(tree.root_element());
    for shown in [
        "relative-l2 ↓",
        "↓ lower is better, protocol strict",
        "1,234,567",
        "0.042100",
        "2026-01-02 03:04:05 UTC",
        "cpu, 2 threads",
        "quickstart/1",
        "0123456789ab",
        "name = \"quickstart\"",
        "Made by a test.",
        "5e-6",
        "k 3, d 3",
    ] {
        assert!(all.contains(shown), "{shown} is missing");
    }
}

#[test]
fn nothing_in_the_input_becomes_markup() {
    let evil = "</title><script>alert('1')</script>\"&|$%_{}\\ ../../x";
    let mut input = input();
    input.name = evil.to_owned();
    input.generated = evil.to_owned();
    input.notes = vec![evil.to_owned()];
    input.configs[0].toml = evil.to_owned();
    for row in &mut input.rows {
        (row.task, row.pipeline) = (evil.to_owned(), evil.to_owned());
        (row.metric, row.split) = (evil.to_owned(), evil.to_owned());
        row.run = evil.to_owned();
    }
    for detail in &mut input.details {
        (detail.task, detail.pipeline, detail.run) = (evil.to_owned(), evil.to_owned(), evil.to_owned());
        (detail.device, detail.fingerprint) = (evil.to_owned(), evil.to_owned());
        for layer in detail.architecture.iter_mut().flat_map(|a| &mut a.layers) {
            layer.name = evil.to_owned();
        }
    }
    let artifacts = render(&input).unwrap();
    let page = text(&artifacts, "index.html");
    let tree = parse(&page);
    assert!(tree.descendants().all(|n| n.tag_name().name() != "script"));
    let heading = tree.descendants().find(|n| n.tag_name().name() == "h1").unwrap();
    assert_eq!(content(heading), evil);
    for artifact in &artifacts {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-./".contains(c);
        assert!(artifact.path.chars().all(plain) && !artifact.path.contains(".."), "{}", artifact.path);
        if artifact.path.ends_with(".svg") {
            let svg = text(&artifacts, &artifact.path);
            assert!(parse(&svg).descendants().all(|n| n.tag_name().name() != "script"));
        }
    }
    // Every row of a Markdown table keeps its number of cells.
    let markdown = text(&artifacts, "results.md");
    let bare = |text: &str| -> String {
        let mut chars = text.chars();
        std::iter::from_fn(|| match chars.next()? {
            '\\' => chars.next().map(|_| ' '), // an escaped character means itself
            c => Some(c),
        })
        .collect()
    };
    assert!(!bare(&markdown).contains('<'), "raw HTML");
    let cells = |line: &str| bare(line).matches('|').count();
    for block in markdown.split("\n\n").filter(|b| b.starts_with('|')) {
        let widths: BTreeSet<usize> = block.lines().map(cells).collect();
        assert_eq!(widths.len(), 1, "{block}");
    }
    let latex = text(&artifacts, "results.tex");
    let table = latex.split("\\caption").nth(1).unwrap_or_default();
    assert!(table.contains("\\textbar{}\\$\\%\\_\\{\\}\\textbackslash{} ../../x"), "{table}");
}
