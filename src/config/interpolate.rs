//! `${VAR}`, `${VAR:-default}` and `${file:/run/secrets/x}` inside the strings of a configuration file.

use std::io::Read;

use super::Env;

/// No secret is longer; a device that never ends must not fill the memory.
const LONGEST_FILE: u64 = 1 << 20;

/// A string with everything put in.
#[derive(Debug, PartialEq, Eq)]
pub struct Interpolated {
    pub text: String,
    /// Something was put in, so that only the text of the file may be shown.
    pub changed: bool,
    /// A part came from a file: a secret.
    pub secret: bool,
}

/// Puts in what the references of `source` mean. `$${` stands for a plain `${`. The error names the reference,
/// never a content.
pub fn interpolate(source: &str, env: &Env) -> Result<Interpolated, String> {
    let mut out = Interpolated { text: String::with_capacity(source.len()), changed: false, secret: false };
    let mut rest = source;
    while let Some(at) = rest.find("${") {
        if rest[..at].ends_with('$') {
            out.text.push_str(&rest[..at]);
            out.text.push('{');
            rest = &rest[at + 2..];
            continue;
        }
        out.text.push_str(&rest[..at]);
        let inside = &rest[at + 2..];
        let close = inside.find('}').ok_or("\"${\" without \"}\"")?;
        resolve(&inside[..close], env, &mut out)?;
        rest = &inside[close + 1..];
    }
    out.text.push_str(rest);
    Ok(out)
}

fn resolve(reference: &str, env: &Env, out: &mut Interpolated) -> Result<(), String> {
    out.changed = true;
    if let Some(path) = reference.strip_prefix("file:") {
        out.secret = true;
        out.text.push_str(&read(path)?);
        return Ok(());
    }
    let (name, default) = match reference.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (reference, None),
    };
    let legal = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if name.is_empty() || !name.chars().all(legal) {
        return Err(format!("${{{reference}}} is none of ${{VAR}}, ${{VAR:-default}} and ${{file:/path}}"));
    }
    // As a shell has it: `:-` stands in for a variable that is empty, too.
    let value = env.get(name).filter(|value| default.is_none() || !value.is_empty());
    match value.or(default) {
        Some(value) => out.text.push_str(value),
        None => return Err(format!("the environment variable {name} is not set")),
    }
    Ok(())
}

fn read(path: &str) -> Result<String, String> {
    let mut text = String::new();
    let read = std::fs::File::open(path).and_then(|file| file.take(LONGEST_FILE + 1).read_to_string(&mut text));
    match read {
        Err(error) => Err(format!("${{file:{path}}} cannot be read: {error}")),
        Ok(read) if read as u64 > LONGEST_FILE => Err(format!("${{file:{path}}} is larger than 1 MiB")),
        // Editors and `echo` end a file with a line break that no password has.
        Ok(_) => Ok(text.trim_end_matches(['\n', '\r']).to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(source: &str) -> Result<String, String> {
        let env = Env::from_iter([("HOST", "broker"), ("EMPTY", "")]);
        interpolate(source, &env).map(|out| out.text)
    }

    #[test]
    fn references_are_put_in() {
        assert_eq!(text("${HOST}:9092,${HOST}").unwrap(), "broker:9092,broker");
        assert_eq!(text("${PORT:-9092}${EMPTY:-x}${EMPTY}").unwrap(), "9092x");
        assert_eq!(text("$HOST $${HOST} $").unwrap(), "$HOST ${HOST} $");
        assert_eq!(text("${NOPE:-}").unwrap(), "");
        assert_eq!(text("${NOPE}").unwrap_err(), "the environment variable NOPE is not set");
        for bad in ["${", "${}", "${a b}", "${HOST", "${file:/no/such/file}"] {
            assert!(text(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_file_is_a_secret_and_loses_its_line_break() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("password");
        std::fs::write(&path, "hunter2\n").unwrap();
        let out = interpolate(&format!("${{file:{}}}", path.display()), &Env::default()).unwrap();
        assert_eq!(out, Interpolated { text: "hunter2".into(), changed: true, secret: true });
        std::fs::write(&path, vec![b'x'; (LONGEST_FILE + 1) as usize]).unwrap();
        assert!(interpolate(&format!("${{file:{}}}", path.display()), &Env::default()).is_err());
    }
}
