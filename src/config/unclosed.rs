//! The most frequent slip of all, a quote that is missing, found where it is: the parser notices
//! it only where the next quote ends what it took for a string.

/// What the text is inside of.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Inside {
    /// A string that began there.
    String(usize),
    /// `${…}` or `%{…}` in a string, with its own open braces.
    Interpolation(u32),
}

/// Where the first string begins that does not end in its line.
pub(super) fn string(text: &str) -> Option<usize> {
    let mut inside: Vec<Inside> = Vec::new();
    let mut rest = text;
    while let Some(letter) = rest.chars().next() {
        let at = text.len() - rest.len();
        let mut taken = letter.len_utf8();
        match inside.last_mut() {
            Some(Inside::String(start)) => match letter {
                '\n' => return Some(*start),
                '\\' => {
                    taken += rest[1..].chars().next().filter(|next| *next != '\n').map_or(0, char::len_utf8)
                }
                '"' => {
                    inside.pop();
                }
                _ if rest.starts_with("$${") || rest.starts_with("%%{") => taken = 3,
                _ if rest.starts_with("${") || rest.starts_with("%{") => {
                    inside.push(Inside::Interpolation(0));
                    taken = 2;
                }
                _ => {}
            },
            code => match (letter, code) {
                ('"', _) => inside.push(Inside::String(at)),
                ('{', Some(Inside::Interpolation(open))) => *open += 1,
                ('}', Some(Inside::Interpolation(0))) => {
                    inside.pop();
                }
                ('}', Some(Inside::Interpolation(open))) => *open -= 1,
                ('#', _) => taken = line(rest),
                ('/', _) if rest.starts_with("//") => taken = line(rest),
                ('/', _) if rest.starts_with("/*") => {
                    taken = rest.find("*/").map_or(rest.len(), |end| end + 2)
                }
                ('<', _) if rest.starts_with("<<") => taken = heredoc(rest),
                _ => {}
            },
        }
        rest = &rest[taken..];
    }
    inside.iter().rev().find_map(|each| match each {
        Inside::String(start) => Some(*start),
        Inside::Interpolation(_) => None,
    })
}

/// The length of the rest of the line, without its line feed.
fn line(text: &str) -> usize {
    text.find('\n').unwrap_or(text.len())
}

/// The length of a heredoc with its end.
fn heredoc(text: &str) -> usize {
    let body = line(text);
    let delimiter = text[2..body].trim_start_matches('-').trim();
    if delimiter.is_empty()
        || !delimiter.chars().all(|letter| letter.is_alphanumeric() || letter == '_' || letter == '-')
    {
        return 2;
    }
    let mut length = body;
    for each in text[body..].split_inclusive('\n').skip(1) {
        length += each.len();
        if each.trim() == delimiter {
            break;
        }
    }
    (length + 1).min(text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_unclosed_strings_are_found() {
        for text in [
            "",
            "a = \"b\"\n",
            "a = \"x ${ { b = \"c\" }.b } \\\" y\"\n",
            "# it's \"\na = 1\n",
            "/* \" */ a = <<EOT\n say \"\nEOT\nb = \"c\"\n",
            "a = \"$${ \"\n",
            "a = b << c\n",
        ] {
            assert_eq!(string(text), None, "{text}");
        }
        assert_eq!(string("a = \"b\nc = \"d\"\n"), Some(4));
        assert_eq!(string("a = \"é ${ \"x }\n\""), Some(11));
        assert_eq!(string("a = \""), Some(4));
    }
}
