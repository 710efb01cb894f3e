//! Logs, on standard error: text or JSON, at a level that a person chose.

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::SubscriberBuilder;

use super::progress::AboveBars;
use super::{Exit, Failure, Global, LogFormat};
use crate::config::Env;

/// The filter: `--log`, then `LANDFALL_LOG`, then `RUST_LOG`, then what the command does by itself. A bare level
/// is meant for landfall; other libraries keep to warnings.
pub fn filter(global: &Global, env: &Env, quiet: bool) -> Result<EnvFilter, Failure> {
    let given = [
        ("--log", global.log.as_deref()),
        ("LANDFALL_LOG", env.get("LANDFALL_LOG")),
        ("RUST_LOG", env.get("RUST_LOG")),
    ];
    let found = given.into_iter().find_map(|(from, text)| Some((from, text.filter(|text| !text.is_empty())?)));
    let (from, text) = found.unwrap_or(("default", if quiet { "warn" } else { "info" }));
    let level = ["off", "error", "warn", "info", "debug", "trace"].contains(&text.to_ascii_lowercase().as_str());
    let directives = if level { format!("warn,landfall={text}") } else { text.to_string() };
    let directives = if text.eq_ignore_ascii_case("off") { "off".into() } else { directives };
    EnvFilter::try_new(&directives).map_err(|error| {
        Failure::new(Exit::Usage, format!("{from} {text:?} is not a log filter: {error}"))
            .way_out("use off, error, warn, info, debug, trace, or a filter such as \"landfall=debug,rdkafka=info\"")
    })
}

/// Starts logging. A program that embeds landfall and logs already keeps its own.
pub fn start(global: &Global, env: &Env, quiet: bool, color: bool) -> Result<(), Failure> {
    let filter = filter(global, env, quiet)?;
    let builder: SubscriberBuilder = tracing_subscriber::fmt();
    let builder = builder.with_env_filter(filter).with_writer(AboveBars).with_ansi(color);
    let _ = match global.log_format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().flatten_event(true).with_ansi(false).try_init(),
    };
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(log: Option<&str>, env: &[(&str, &str)], quiet: bool) -> String {
        let global = Global { log: log.map(str::to_string), ..Global::default() };
        let mut directives: Vec<String> = filter(&global, &Env::from_iter(env.iter().copied()), quiet)
            .unwrap()
            .to_string()
            .split(',')
            .map(str::to_string)
            .collect();
        directives.sort();
        directives.join(",")
    }

    #[test]
    fn the_nearest_wish_counts() {
        let both = [("LANDFALL_LOG", "debug"), ("RUST_LOG", "error")];
        assert_eq!(shown(Some("trace"), &both, true), "landfall=trace,warn");
        assert_eq!(shown(None, &both, true), "landfall=debug,warn");
        assert_eq!(shown(None, &both[1..], true), "landfall=error,warn");
        assert_eq!(shown(None, &[], true), "landfall=warn,warn");
        assert_eq!(shown(None, &[("LANDFALL_LOG", "")], false), "landfall=info,warn");
        assert_eq!(shown(Some("landfall_lake=debug"), &[], false), "landfall_lake=debug");
        let global = Global { log: Some("a=b=c".into()), ..Global::default() };
        assert_eq!(filter(&global, &Env::default(), true).unwrap_err().code, Exit::Usage);
    }
}
