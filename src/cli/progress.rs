//! Bars with rate and remaining time, on a terminal only; logs and bars share standard error without tearing.

use std::io::{self, Write};
use std::sync::LazyLock;

use indicatif::style::TemplateError;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use tracing_subscriber::fmt::MakeWriter;

/// Every bar of this process, so that a log line can step aside for all of them.
static BARS: LazyLock<MultiProgress> = LazyLock::new(|| MultiProgress::with_draw_target(ProgressDrawTarget::stderr()));

/// How far a long piece of work is. Whoever works reports it as often as it likes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    /// What there is to do, as far as is known; it may grow.
    pub total: u64,
    pub done: u64,
    /// Bytes read or written so far; 0 where they are not counted.
    pub bytes: u64,
}

/// A bar, or nothing where nobody looks.
pub struct Bar {
    bar: Option<ProgressBar>,
}

impl Bar {
    /// `unit` is what is counted: "records", "files".
    pub fn new(shown: bool, label: &str, unit: &str) -> Bar {
        if !shown {
            return Bar::hidden();
        }
        let bar = BARS.add(ProgressBar::no_length());
        // A template that is not legal is caught by the test below; the bar would then look plain.
        if let Ok(style) = style(unit) {
            bar.set_style(style);
        }
        bar.set_prefix(label.to_string());
        Bar { bar: Some(bar) }
    }

    /// A line of text that [`Bar::say`] changes.
    pub fn line(shown: bool) -> Bar {
        if !shown {
            return Bar::hidden();
        }
        let bar = BARS.add(ProgressBar::new_spinner());
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}") {
            bar.set_style(style);
        }
        Bar { bar: Some(bar) }
    }

    pub fn is_shown(&self) -> bool {
        self.bar.is_some()
    }

    pub fn say(&self, text: &str) {
        if let Some(bar) = &self.bar {
            bar.set_message(text.to_string());
            bar.tick();
        }
    }

    /// A line that stays, on standard error, above whatever moves.
    pub fn above(&self, text: &str) {
        above(text);
    }

    pub fn hidden() -> Bar {
        Bar { bar: None }
    }

    pub fn feed(&self, progress: Progress) {
        let Some(bar) = &self.bar else { return };
        bar.set_length(progress.total);
        bar.set_position(progress.done.min(progress.total));
        if progress.bytes > 0 {
            bar.set_message(format!("{}  ", super::table::bytes(progress.bytes)));
        }
    }

    /// Takes the bar away: the result is what stays.
    pub fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
            BARS.remove(bar);
        }
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.finish();
    }
}

/// A line that stays, on standard error, above whatever moves.
pub fn above(text: &str) {
    // Nobody reads any more: no reason to stop working.
    let _ = aside(|| writeln!(io::stderr().lock(), "{text}"));
}

/// Takes the bars off the terminal while `say` uses it.
pub fn aside<T>(say: impl FnOnce() -> T) -> T {
    BARS.suspend(say)
}

fn style(unit: &str) -> Result<ProgressStyle, TemplateError> {
    let counted = format!("{{human_pos}}/{{human_len}} {unit}");
    let template = format!("{{prefix}} [{{bar:30}}] {{percent:>3}} %  {counted}  {{msg}}{{per_sec}}  {{eta}} left");
    Ok(ProgressStyle::with_template(&template)?.progress_chars("=> "))
}

/// Standard error for logs: each line is written whole, above the bars.
#[derive(Clone, Copy)]
pub struct AboveBars;

pub struct Line(Vec<u8>);

impl Write for Line {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        // A log that cannot be written must not end the work.
        let _ = BARS.suspend(|| io::stderr().lock().write_all(&self.0));
    }
}

impl<'a> MakeWriter<'a> for AboveBars {
    type Writer = Line;

    fn make_writer(&'a self) -> Line {
        Line(Vec::new())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_can_be_fed_anything() {
        for bar in [Bar::hidden(), Bar::new(true, "verify", "files")] {
            for progress in [
                Progress::default(),
                Progress { total: 10, done: 5, bytes: 1 << 30 },
                Progress { total: 5, done: 10, bytes: u64::MAX },
            ] {
                bar.feed(progress);
            }
            bar.finish();
            bar.feed(Progress { total: 1, done: 1, bytes: 0 });
        }
    }

    #[test]
    fn the_template_of_a_bar_is_legal() {
        assert!(style("files").is_ok());
        let bar = Bar::new(true, "verify", "files");
        assert_eq!(bar.bar.as_ref().unwrap().length(), None, "what is not known yet is not 100 % done");
        bar.feed(Progress { total: 10, done: 5, bytes: 4096 });
        let bar = bar.bar.as_ref().unwrap();
        assert_eq!((bar.length(), bar.position(), bar.message().as_str()), (Some(10), 5, "4.0 KiB  "));
    }
}
