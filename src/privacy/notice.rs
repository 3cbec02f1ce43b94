//! The page that tells students what is kept of them: pure, from the settings in force.
//!
//! Both languages stand on it, one after the other, so that it needs no script and
//! can be printed. It says nothing of any person.

use std::fmt::Write as _;
use std::time::Duration;

use crate::config::{Classroom, Privacy};

mod words;

use words::{ENGLISH, JAPANESE, Words};

const STYLE: &str = include_str!("notice/style.css");

/// The page of a classroom. `nonce` is what the style is allowed by.
pub fn page(privacy: &Privacy, classroom: &Classroom, nonce: &str) -> String {
    let name = escaped(&classroom.name);
    let mut page = format!(
        "<!doctype html>\n<html lang=\"ja\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <link rel=\"icon\" href=\"data:,\">\n\
         <title>{} / {} – {name}</title>\n<style nonce=\"{nonce}\">{STYLE}</style>\n</head>\n<body>\n\
         <nav aria-label=\"言語 / Language\"><a href=\"#ja\" lang=\"ja\">日本語</a> \
         <a href=\"#en\" lang=\"en\">English</a></nav>\n<main>\n",
        JAPANESE.title, ENGLISH.title
    );
    for words in [&JAPANESE, &ENGLISH] {
        page.push_str(&article(words, privacy, classroom));
    }
    page.push_str("</main>\n</body>\n</html>\n");
    page
}

fn article(words: &Words, privacy: &Privacy, classroom: &Classroom) -> String {
    let mut text = format!(
        "<article id=\"{0}\" lang=\"{0}\">\n<header><p class=\"room\">{1}</p>\n<h1>{2}</h1>\n<p>{3}</p></header>\n",
        words.language,
        escaped(&classroom.name),
        words.title,
        words.lead
    );
    section(&mut text, words.why, &why(words, privacy));
    section(&mut text, words.what, &what(words, classroom));
    section(&mut text, words.how_long, &how_long(words, classroom));
    section(&mut text, words.who_sees, &paragraph(words.who_sees_text));
    section(&mut text, words.rights, &list(words.rights_list));
    section(
        &mut text,
        words.whom_to_ask,
        &whom(words, privacy, classroom),
    );
    text.push_str("</article>\n");
    text
}

fn section(page: &mut String, heading: &str, content: &str) {
    // a String takes all that is written to it
    let _ = writeln!(page, "<section>\n<h2>{heading}</h2>\n{content}</section>");
}

fn why(words: &Words, privacy: &Privacy) -> String {
    if privacy.purpose.is_empty() {
        return paragraph(words.purpose);
    }
    paragraphs(&privacy.purpose)
}

fn what(words: &Words, classroom: &Classroom) -> String {
    let (code, is_kept) = if classroom.keeps_code {
        (words.code_kept, "kept")
    } else {
        (words.code_not_kept, "not-kept")
    };
    format!(
        "{}<p class=\"code {is_kept}\">{code}</p>\n",
        list(words.what_list)
    )
}

fn how_long(words: &Words, classroom: &Classroom) -> String {
    const DAY: Duration = Duration::from_secs(24 * 60 * 60);
    let in_backups = paragraph(words.in_backups);
    let Some(term) = classroom.retention else {
        return format!("<p class=\"term\">{}</p>\n{in_backups}", words.for_ever);
    };
    let term = match term.as_secs() / DAY.as_secs() {
        1 => words.one_day.to_owned(),
        days => words.days.replace("{}", &days.to_string()),
    };
    let stays_longer = paragraph(words.stays_longer);
    format!("<p class=\"term\">{term}</p>\n{stays_longer}{in_backups}")
}

fn whom(words: &Words, privacy: &Privacy, classroom: &Classroom) -> String {
    let mut told = String::new();
    if !privacy.controller.is_empty() {
        let _ = writeln!(
            told,
            "<dt>{}</dt><dd>{}</dd>",
            words.controller,
            lines(&privacy.controller)
        );
    }
    if !classroom.contact.is_empty() {
        let _ = writeln!(
            told,
            "<dt>{}</dt><dd>{}</dd>",
            words.contact,
            linked(&classroom.contact)
        );
    }
    if told.is_empty() {
        return paragraph(words.nobody_named);
    }
    format!("<dl>\n{told}</dl>\n")
}

fn list(items: &[&str]) -> String {
    let items: String = items
        .iter()
        .map(|item| format!("<li>{item}</li>\n"))
        .collect();
    format!("<ul>\n{items}</ul>\n")
}

fn paragraph(text: &str) -> String {
    format!("<p>{text}</p>\n")
}

/// A text of the configuration; an empty line begins a paragraph.
fn paragraphs(text: &str) -> String {
    text.split("\n\n")
        .map(|part| paragraph(&lines(part)))
        .collect()
}

fn lines(text: &str) -> String {
    escaped(text.trim()).replace('\n', "<br>")
}

/// A contact that is an address alone can be followed.
fn linked(contact: &str) -> String {
    let text = lines(contact);
    let is_one_word = !contact.contains(char::is_whitespace);
    if is_one_word && (contact.starts_with("https://") || contact.starts_with("http://")) {
        return format!("<a href=\"{text}\">{text}</a>");
    }
    let is_mail = |(name, host): (&str, &str)| !name.is_empty() && host.contains('.');
    if is_one_word && contact.split_once('@').is_some_and(is_mail) {
        return format!("<a href=\"mailto:{text}\">{text}</a>");
    }
    text
}

fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            other => safe.push(other),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use mimamori_actors::domain::ClassroomId;

    use super::*;

    fn room() -> Classroom {
        Classroom::plain(ClassroomId::new("default"))
    }

    #[test]
    fn it_says_in_both_languages_what_is_in_force() {
        let privacy = Privacy {
            controller: "工学部".to_owned(),
            ..Privacy::default()
        };
        let classroom = Classroom {
            name: "プログラミング演習".to_owned(),
            retention: Some(Duration::from_secs(400 * 86_400)),
            contact: "office@example.ac.jp".to_owned(),
            ..room()
        };

        let page = page(&privacy, &classroom, "n");

        for said in [
            "プログラミング演習",
            "400 days",
            "400日",
            JAPANESE.stays_longer,
            ENGLISH.stays_longer,
            ENGLISH.in_backups,
            "<dd>工学部</dd>",
            "<a href=\"mailto:office@example.ac.jp\">",
            JAPANESE.code_kept,
            ENGLISH.code_kept,
            JAPANESE.purpose,
        ] {
            assert!(page.contains(said), "{said}");
        }
        assert!(!page.contains(ENGLISH.code_not_kept));
    }

    #[test]
    fn a_term_of_one_day_is_one_day() {
        let classroom = Classroom {
            retention: Some(Duration::from_secs(86_400)),
            ..room()
        };

        let page = page(&Privacy::default(), &classroom, "n");

        assert!(page.contains("For 1 day; then"), "{page}");
    }

    #[test]
    fn without_settings_it_says_for_ever_and_names_nobody() {
        let classroom = Classroom {
            keeps_code: false,
            ..room()
        };

        let page = page(&Privacy::default(), &classroom, "n");

        for words in [&JAPANESE, &ENGLISH] {
            for said in [words.for_ever, words.nobody_named, words.code_not_kept] {
                assert!(page.contains(said), "{said}");
            }
            assert!(!page.contains(words.code_kept));
            assert!(!page.contains(words.stays_longer));
        }
    }

    #[test]
    fn texts_of_the_configuration_are_texts() {
        let privacy = Privacy {
            purpose: "<script>alert(1)</script>\n\n& more".to_owned(),
            ..Privacy::default()
        };
        let classroom = Classroom {
            contact: "https://x.example/\"onclick=\"x".to_owned(),
            ..room()
        };

        let page = page(&privacy, &classroom, "n");

        assert!(
            !page.contains("<script") && !page.contains("\"onclick"),
            "{page}"
        );
        assert!(page.contains("<p>&amp; more</p>"));
    }
}
