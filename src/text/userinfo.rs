//! Text with URLs in it, without the secrets that people write into URLs.

use std::borrow::Cow;

/// `text` with the user and password of every URL taken out: `https://user:secret@host/x` becomes
/// `https://host/x`. The user of an `ssh` URL is no secret and stays, a password there does not.
pub fn without_userinfo(text: &str) -> Cow<'_, str> {
    /// What ends the part of a URL in which user and host stand.
    const END: [char; 11] = ['/', '?', '#', '"', '\'', '`', '<', '>', ',', '\\', ']'];
    let mut shown = String::new();
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + 3);
        let end = after.find(|c: char| c.is_whitespace() || END.contains(&c)).unwrap_or(after.len());
        shown.push_str(before);
        let Some(user) = after[..end].rfind('@') else {
            rest = after;
            continue;
        };
        let name = after[..user].split(':').next().unwrap_or_default();
        if before.ends_with("ssh://") {
            shown.push_str(name);
            shown.push('@');
        }
        rest = &after[user + 1..];
    }
    if shown.is_empty() {
        return Cow::Borrowed(text);
    }
    shown.push_str(rest);
    Cow::Owned(shown)
}

#[cfg(test)]
mod tests {
    use super::without_userinfo;

    #[test]
    fn users_and_passwords_are_taken_out_and_everything_else_stays() {
        for (text, shown) in [
            ("ADD https://u:p@h.example/a /b", "ADD https://h.example/a /b"),
            ("https://token@h/x.git#v1:d", "https://h/x.git#v1:d"),
            ("https://u:p@ss@h", "https://h"),
            ("two http://a:b@c and \"https://d:e@f\"", "two http://c and \"https://f\""),
            ("ssh://git:pw@h/x", "ssh://git@h/x"),
            ("git@h:x/y.git", "git@h:x/y.git"),
            ("https://h/a@b", "https://h/a@b"),
            ("https://h/?q=a@b", "https://h/?q=a@b"),
            ("nothing", "nothing"),
            ("://@", "://"),
        ] {
            assert_eq!(without_userinfo(text), shown);
        }
    }
}
