//! Where Kafka Connect finds the passwords of its REST API: in a file that a file of JAAS names,
//! which an option of the JVM names.
//!
//! ```text
//! KAFKA_OPTS="-Djava.security.auth.login.config=/etc/kafka/jaas.conf"
//!
//! KafkaConnect {
//!     org.apache.kafka.connect.rest.basic.auth.extension.PropertyFileLoginModule required
//!     file="/etc/kafka/passwords.properties";
//! };
//! ```

use std::path::PathBuf;

const OPTION: &str = "-Djava.security.auth.login.config=";
const SECTION: &str = "KafkaConnect";
const MODULE: &str = "PropertyFileLoginModule";

/// The file of passwords, or why it is not known.
pub fn password_file(java_options: Option<&str>) -> Result<PathBuf, String> {
    let mut options = java_options.unwrap_or_default().split_whitespace();
    let path = options.find_map(|option| option.trim_matches(['"', '\'']).strip_prefix(OPTION));
    let path = path.ok_or("nothing says where the passwords are")?;
    let text = std::fs::read_to_string(path).map_err(|error| format!("'{path}': {error}"))?;
    let found =
        section(&text).ok_or_else(|| format!("'{path}' has no section {SECTION} {{ … }}"))?;
    if !found.contains(MODULE) {
        return Err(format!("'{path}': {SECTION} names another class than {MODULE}"));
    }
    let file = found.split("file=").nth(1).map(str::trim_start).and_then(|rest| {
        let mut parts = rest.split('"');
        match parts.next() {
            Some("") => parts.next(),
            _ => rest.split([';', ' ', '\n', '\t']).next(),
        }
    });
    let file = file.filter(|file| !file.is_empty());
    file.map(PathBuf::from).ok_or_else(|| format!("'{path}': {SECTION} has no file=\"…\""))
}

/// What stands between the braces.
fn section(text: &str) -> Option<&str> {
    let found = text.match_indices(SECTION).find_map(|(at, _)| {
        let before = text[..at].chars().next_back();
        let starts = before.is_none_or(|one| one.is_whitespace() || matches!(one, '}' | ';' | '/'));
        text[at + SECTION.len()..].trim_start().strip_prefix('{').filter(|_| starts)
    });
    found?.split('}').next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kafkas_own_file_names_the_passwords() {
        let dir = tempfile::tempdir().unwrap();
        let jaas = dir.path().join("jaas.conf");
        let options = format!("-Xmx1g {OPTION}{} -Dx=y", jaas.display());
        let read = |text: &str| {
            std::fs::write(&jaas, text).unwrap();
            password_file(Some(&options))
                .map_err(|reason| reason.replace(&jaas.display().to_string(), "jaas.conf"))
        };
        let own = "// who may come\nKafkaClient { a.B required file=\"/no\"; };\nKafkaConnect {\n  \
                   org.x.PropertyFileLoginModule required\n  file=\"/etc/pass words\";\n};\n";
        assert_eq!(read(own).unwrap(), PathBuf::from("/etc/pass words"));
        let bare = "KafkaConnect{ PropertyFileLoginModule required file=/etc/p; };";
        assert_eq!(read(bare).unwrap(), PathBuf::from("/etc/p"));
        let told = [
            read("MyKafkaConnect { PropertyFileLoginModule required file=\"x\"; };"),
            read("KafkaConnect { com.ldap.LoginModule required file=\"x\"; };"),
            read("KafkaConnect { PropertyFileLoginModule required; };"),
            password_file(Some("-Xmx1g")),
            password_file(None),
        ];
        let told: Vec<String> = told.into_iter().map(Result::unwrap_err).collect();
        expect_test::expect![[r#"
            'jaas.conf' has no section KafkaConnect { … }
            'jaas.conf': KafkaConnect names another class than PropertyFileLoginModule
            'jaas.conf': KafkaConnect has no file="…"
            nothing says where the passwords are
            nothing says where the passwords are"#]]
        .assert_eq(&told.join("\n"));
    }
}
