//! From a TOML file and the environment to a [`Config`], or to everything that is wrong with them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use toml::de::{DeTable, DeValue};

use super::error::{ConfigError, Place, Problem, ProblemKind};
use super::keys::{Key, find, keys};
use super::settings::Config;
use super::value::{Located, Source, Value, Wrong, join, locate, plain, table};
use super::{Env, suggest};

/// No configuration is larger; a device that never ends must not fill the memory.
const LONGEST_FILE: u64 = 1 << 20;

const OVERRIDE: &str = "LANDFALL__";

impl Config {
    /// Reads a file, puts the environment's overrides on top and checks the whole. Relative paths start at the
    /// file's folder.
    pub fn load(path: &Path, env: &Env) -> Result<Config, ConfigError> {
        let file = path.display().to_string();
        let text = read(path).map_err(|(what, hint)| {
            let hint = hint.into();
            let kind = ProblemKind::Syntax;
            ConfigError::one(&file, Problem { kind, place: Place::Nowhere, key: String::new(), what, hint: Some(hint) })
        })?;
        let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        Config::parse(&text, &file, directory, env)
    }

    /// As [`Config::load`], of a text that is called `file` in messages.
    pub fn parse(text: &str, file: &str, directory: &Path, env: &Env) -> Result<Config, ConfigError> {
        let source = Source::new(text);
        let parsed = DeTable::parse(text).map_err(|error| syntax(file, &source, &error))?;
        let mut reader = Reader::default();
        let entries = table(parsed.get_ref(), &source, env, "", &mut reader.problems);
        reader.section(&entries, "");
        reader.overrides(env);
        let mut config = reader.check(file)?;
        let directory = std::path::absolute(directory).unwrap_or_else(|_| directory.to_path_buf());
        config.anchor(&directory);
        Ok(config)
    }

    /// Relative paths as seen from `directory`.
    pub fn anchor(&mut self, directory: &Path) {
        // Joined piece by piece, so that "./state" does not become "/x/./state" in messages.
        let plain = |path: &Path| path.components().filter(|part| *part != std::path::Component::CurDir).collect();
        let inside: std::path::PathBuf = plain(&self.checkpoint.path);
        self.checkpoint.path = directory.join(inside);
        if let Some(path) = self.lake.url.local_path().filter(|path| !path.as_os_str().is_empty()) {
            let inside: std::path::PathBuf = plain(path);
            self.lake.url = super::LakeUrl::from_path(directory.join(inside));
        }
    }
}

const NAME_IT: &str = "name the file, as in \"landfall run my.toml\"; landfall.example.toml shows every setting";

/// What is wrong with the file itself, and the way out.
fn read(path: &Path) -> Result<String, (String, &'static str)> {
    use std::io::{ErrorKind, Read};
    let mut bytes = Vec::new();
    let read = std::fs::File::open(path).and_then(|file| file.take(LONGEST_FILE + 1).read_to_end(&mut bytes));
    match read {
        Err(error) => {
            let hint = match error.kind() {
                ErrorKind::PermissionDenied => "let this user read the file, or run it as the user who may",
                _ => NAME_IT,
            };
            Err((format!("the configuration cannot be read: {error}"), hint))
        }
        Ok(read) if read as u64 > LONGEST_FILE => Err(("the configuration is larger than 1 MiB".into(), NAME_IT)),
        Ok(_) => String::from_utf8(bytes).map_err(|_| ("the configuration is not UTF-8 text".into(), NAME_IT)),
    }
}

/// The parser's own words and the place, but never the line itself: it may hold a secret.
fn syntax(file: &str, source: &Source<'_>, error: &toml::de::Error) -> ConfigError {
    let place = error.span().map_or(Place::Nowhere, |span| source.place(span.start));
    let what = format!("this is not TOML: {}", error.message().replace('\n', ", "));
    let hint = "texts stand in quotes; names with dots, as in [kafka.properties], stand in quotes too".into();
    ConfigError::one(file, Problem { kind: ProblemKind::Syntax, place, key: String::new(), what, hint: Some(hint) })
}

#[derive(Default)]
struct Reader {
    config: Config,
    problems: Vec<Problem>,
    /// Where each setting was written, for what is found wrong only when all are known.
    places: BTreeMap<String, Place>,
}

impl Reader {
    fn section(&mut self, entries: &[(String, Place, Located)], prefix: &str) {
        for (name, place, found) in entries {
            let path = join(prefix, name);
            if let Some(key) = find(&path) {
                self.apply(key, found);
            } else if !keys().any(|key| key.path.strip_prefix(path.as_str()).is_some_and(|rest| rest.starts_with('.')))
            {
                self.problems.push(suggest::unknown_key(prefix, name, place));
            } else if let Value::Table(inner) = &found.value {
                self.section(inner, &path);
            } else {
                let what = format!("{path} is {}; expected a section [{path}]", found.shown());
                let (kind, place) = (ProblemKind::Value, found.place.clone());
                self.problems.push(Problem { kind, place, key: path, what, hint: None });
            }
        }
    }

    fn apply(&mut self, key: &'static Key, found: &Located) {
        self.note_places(key.path, found);
        // A reference that leads nowhere was told already.
        let told = |problem: &Problem| problem.key == key.path && problem.kind == ProblemKind::Unset;
        if self.problems.iter().any(told) {
            return;
        }
        let mut wrong = (key.apply)(&mut self.config, found).err().into_iter().collect::<Vec<_>>();
        while let Some(Wrong { kind, what, hint, place, also }) = wrong.pop() {
            let space = if what.starts_with([':', '.']) { "" } else { " " };
            let what = format!("{}{space}{what}", key.path);
            let place = place.unwrap_or_else(|| found.place.clone());
            self.problems.push(Problem { kind, place, key: key.path.into(), what, hint });
            wrong.extend(also);
        }
    }

    fn note_places(&mut self, path: &str, found: &Located) {
        self.places.insert(path.into(), found.place.clone());
        if let Value::Table(entries) = &found.value {
            for (name, place, inner) in entries {
                let path = join(path, name);
                self.note_places(&path, inner);
                self.places.insert(path, place.clone());
            }
        }
    }

    fn overrides(&mut self, env: &Env) {
        for (variable, text) in env.iter().filter(|(name, _)| name.starts_with(OVERRIDE)) {
            let path = variable[OVERRIDE.len()..].to_ascii_lowercase().replace("__", ".");
            if let Some(key) = find(&path) {
                if let Some(found) = self.typed(key, variable, text) {
                    self.apply(key, &found);
                }
                continue;
            }
            let open = keys().filter(|key| key.open).find_map(|key| {
                let rest = path.strip_prefix(key.path)?.strip_prefix('.')?;
                (!rest.is_empty()).then(|| (key, property_name(key, rest)))
            });
            match open {
                Some((key, name)) => {
                    let place = Place::Variable(variable.into());
                    let value = Value::Text(plain(text, &join(key.path, &name)));
                    let entry = (name, place.clone(), Located { value, place: place.clone() });
                    self.apply(key, &Located { value: Value::Table(vec![entry]), place });
                }
                None => self.problems.push(suggest::unknown_variable(variable)),
            }
        }
    }

    /// A variable's text in the type of its setting: lists and tables in TOML, a list also with commas.
    fn typed(&mut self, key: &'static Key, variable: &str, text: &str) -> Option<Located> {
        let place = || Place::Variable(variable.into());
        let trimmed = text.trim_start();
        if trimmed.starts_with(['[', '{']) && (key.open || key.takes.contains("list") || key.takes.contains("table")) {
            let source = Source::variable(variable, text);
            return match DeValue::parse(text.trim()) {
                Ok(value) => Some(locate(&value, &source, &Env::default(), key.path, &mut self.problems)),
                Err(error) => {
                    let what = format!("{} is not a TOML value: {}", key.path, error.message().replace('\n', ", "));
                    let hint = Some(format!("write it as in {}={:?}", key.variable(), key.example));
                    let kind = ProblemKind::Value;
                    self.problems.push(Problem { kind, place: place(), key: key.path.into(), what, hint });
                    None
                }
            };
        }
        if key.takes.starts_with("list") {
            let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
            let items = parts.map(|part| Located { value: Value::Text(plain(part, key.path)), place: place() });
            return Some(Located { value: Value::List(items.collect()), place: place() });
        }
        Some(Located { value: Value::Text(plain(text, key.path)), place: place() })
    }

    /// What only shows when every setting is known, with the places where they were written.
    fn check(mut self, file: &str) -> Result<Config, ConfigError> {
        let told: BTreeSet<String> = self.problems.iter().map(|problem| problem.key.clone()).collect();
        for mut problem in super::check::problems(&self.config) {
            let key = problem.key.as_str();
            let covered = told.iter().any(|told| {
                told == key
                    || (!told.is_empty() && key.strip_prefix(told.as_str()).is_some_and(|rest| rest.starts_with('.')))
            });
            if covered {
                continue;
            }
            if let Some(place) = self.places.get(key) {
                problem.place = place.clone();
            }
            self.problems.push(problem);
        }
        if self.problems.is_empty() {
            return Ok(self.config);
        }
        self.problems.sort_by(|a, b| a.place.cmp(&b.place));
        Err(ConfigError { file: file.into(), problems: self.problems })
    }
}

/// librdkafka's names have dots where a variable has underscores (the few others cannot be set to a text); an object
/// store's have underscores.
fn property_name(key: &Key, rest: &str) -> String {
    if key.path == "kafka.properties" { rest.replace('_', ".") } else { rest.into() }
}
