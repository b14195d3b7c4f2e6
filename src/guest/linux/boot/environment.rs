//! GRUB's environment block (`grubenv`): 1024 bytes, a heading, `name=value` lines, filled with
//! `#`. GRUB refuses a file of another length.

const HEADING: &str = "# GRUB Environment Block\n";
/// The block's length in bytes.
pub const LENGTH: usize = 1024;

/// The value of a variable.
#[must_use]
pub fn value<'b>(block: &'b str, name: &str) -> Option<&'b str> {
    block.lines().skip(1).find_map(|line| line.strip_prefix(name)?.strip_prefix('='))
}

/// The block with another value for a variable that it has; `None` when it is no such block,
/// lacks the variable, or the value does not fit.
#[must_use]
pub fn with_value(block: &str, name: &str, value: &str) -> Option<String> {
    if value.contains('\n') {
        return None;
    }
    with_line(block, name, &format!("{name}={value}\n"))
}

/// The block without a variable that it has; `None` when it is no such block, or lacks it.
#[must_use]
pub fn without(block: &str, name: &str) -> Option<String> {
    with_line(block, name, "")
}

fn with_line(block: &str, name: &str, with: &str) -> Option<String> {
    if block.len() != LENGTH || !block.starts_with(HEADING) {
        return None;
    }
    value(block, name)?;
    let mut edited = String::from(HEADING);
    // The filling is one line of `#` without an end.
    for line in block[HEADING.len()..].split_inclusive('\n').filter(|line| line.ends_with('\n')) {
        match line.strip_prefix(name).filter(|rest| rest.starts_with('=')) {
            Some(_) => edited.push_str(with),
            None => edited.push_str(line),
        }
    }
    let filling = LENGTH.checked_sub(edited.len())?;
    edited.push_str(&"#".repeat(filling));
    Some(edited)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_length_stays() {
        let text = format!("{HEADING}saved_entry=a\nkernelopts=root=/dev/sda1 ro \n");
        let block = format!("{text}{}", "#".repeat(LENGTH - text.len()));
        assert_eq!(value(&block, "kernelopts"), Some("root=/dev/sda1 ro "));
        let edited = with_value(&block, "kernelopts", "root=UUID=1 ro console=ttyS0").unwrap();
        assert_eq!(edited.len(), LENGTH);
        assert_eq!(value(&edited, "kernelopts"), Some("root=UUID=1 ro console=ttyS0"));
        assert_eq!(value(&edited, "saved_entry"), Some("a"));
        assert_eq!(with_value(&block, "kernelopts", &"x".repeat(1024)), None);
        assert_eq!(with_value(&block, "other", "x"), None);
        assert_eq!(with_value("short", "a", "b"), None);
        let less = without(&block, "saved_entry").unwrap();
        assert_eq!((less.len(), value(&less, "saved_entry")), (LENGTH, None));
        assert_eq!(value(&less, "kernelopts"), value(&block, "kernelopts"));
        assert_eq!(without(&less, "saved_entry"), None);
    }
}
