//! "Did you mean": the nearest of some names to one that is not among them.

/// So many candidates are looked at, at most: a suggestion is a courtesy and must not cost a second.
const CANDIDATES: usize = 1_000;

/// `; did you mean "x"?` if one of the candidates is near, else nothing.
pub(super) fn did_you_mean<'c>(wrong: &str, candidates: impl IntoIterator<Item = &'c str>) -> String {
    nearest(wrong, candidates).map(|near| format!("; did you mean `{near}`?")).unwrap_or_default()
}

/// The candidate that differs in the fewest letters, if these are at most a third.
pub(super) fn nearest<'c>(wrong: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    within((wrong.chars().count() / 3).max(1), wrong, candidates)
}

/// The candidate that differs in the fewest letters, if these are not more than allowed.
pub(super) fn within<'c>(
    allowed: usize,
    wrong: &str,
    candidates: impl IntoIterator<Item = &'c str>,
) -> Option<&'c str> {
    let wrong = fold(wrong);
    let near = |candidate: &&str| candidate.chars().count().abs_diff(wrong.len()) <= allowed;
    let distances = candidates.into_iter().take(CANDIDATES).filter(near).map(|c| (distance(&wrong, &fold(c)), c));
    distances.filter(|(distance, _)| *distance <= allowed).min_by_key(|(distance, _)| *distance).map(|(_, c)| c)
}

/// Case, and which dash was used, are what people get wrong most.
fn fold(text: &str) -> Vec<char> {
    text.chars().map(|c| if c == '-' { '_' } else { c.to_ascii_lowercase() }).collect()
}

/// Insertions, deletions, replacements and swaps of neighbours (optimal string alignment).
fn distance(a: &[char], b: &[char]) -> usize {
    let (mut before, mut last): (Vec<usize>, Vec<usize>) = (Vec::new(), (0..=b.len()).collect());
    for i in 0..a.len() {
        let mut row = Vec::with_capacity(last.len());
        row.push(i + 1);
        for j in 0..b.len() {
            let replaced = last[j] + usize::from(a[i] != b[j]);
            let mut best = replaced.min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && a[i] == b[j - 1] && a[i - 1] == b[j] {
                best = best.min(before[j - 1] + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn slips_of_the_finger_are_understood() {
        let keys = ["grace", "rotate_every", "publish_to", "name"];
        for (wrong, meant) in
            [("grase", "grace"), ("Grace", "grace"), ("garce", "grace"), ("rotate-evry", "rotate_every")]
        {
            assert_eq!(nearest(wrong, keys), Some(meant), "{wrong}");
        }
    }

    #[test]
    fn other_words_are_not() {
        for wrong in ["", "x", "interval", "period", "groceries"] {
            assert_eq!(nearest(wrong, ["grace", "rotate_every", "publish_to", "name"]), None, "{wrong}");
        }
    }
}
