//! The terminal: taken in the alternate screen, and given back as it was however the program ends.

use crossterm::cursor::Show;
use crossterm::event::{Event, EventStream, KeyCode, KeyEventKind, KeyModifiers};
use crossterm::execute;
use crossterm::terminal::{EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode};
use futures_util::StreamExt;
use ratatui::backend::CrosstermBackend;
use ratatui::{DefaultTerminal, Frame, Terminal};
use std::io::{self, stdout};
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether the terminal is ours. Given back twice, it would put the cursor where it was at first, over what was written since.
static TAKEN: AtomicBool = AtomicBool::new(false);

/// The terminal while it is ours.
pub(super) struct Screen {
    terminal: DefaultTerminal,
    events: EventStream,
    /// The terminal tells no more keys.
    deaf: bool,
}

/// What a person asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Key {
    /// To end.
    Quit,
    /// The next mode.
    Mode,
    /// The terminal has another size.
    Redraw,
}

impl Screen {
    /// Takes the terminal. A panic, of whatever thread, gives it back before it is told.
    pub(super) fn open() -> io::Result<Screen> {
        let tell = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            give_back();
            tell(panic);
        }));
        enable_raw_mode()?;
        TAKEN.store(true, Ordering::SeqCst);
        let terminal = execute!(stdout(), EnterAlternateScreen).and_then(|()| Terminal::new(CrosstermBackend::new(stdout())));
        let terminal = terminal.inspect_err(|_| give_back())?;
        Ok(Screen { terminal, events: EventStream::new(), deaf: false })
    }

    /// Draws a frame; what did not change is not sent.
    pub(super) fn draw(&mut self, draw: impl FnOnce(&mut Frame<'_>)) -> io::Result<()> {
        self.terminal.draw(draw).map(|_| ())
    }

    /// The next thing that is asked for.
    pub(super) async fn key(&mut self) -> Key {
        loop {
            if self.deaf {
                std::future::pending::<()>().await;
            }
            match self.events.next().await {
                Some(Ok(event)) => {
                    if let Some(key) = meaning(&event) {
                        return key;
                    }
                }
                _ => self.deaf = true,
            }
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        give_back();
    }
}

fn give_back() {
    if TAKEN.swap(false, Ordering::SeqCst) {
        // A terminal that is gone has nothing to get back.
        let _ = execute!(stdout(), LeaveAlternateScreen, Show);
        let _ = disable_raw_mode();
    }
}

fn meaning(event: &Event) -> Option<Key> {
    match event {
        Event::Resize(..) => Some(Key::Redraw),
        Event::Key(key) if key.kind != KeyEventKind::Release => match key.code {
            KeyCode::Char('c' | 'd') if key.modifiers.contains(KeyModifiers::CONTROL) => Some(Key::Quit),
            KeyCode::Char('q' | 'Q') | KeyCode::Esc => Some(Key::Quit),
            KeyCode::Char('m' | 'M') => Some(Key::Mode),
            _ => None,
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crossterm::event::KeyEvent;

    #[test]
    fn keys_mean_what_the_help_says() {
        let key = |code, modifiers| meaning(&Event::Key(KeyEvent::new(code, modifiers)));
        assert_eq!(key(KeyCode::Char('q'), KeyModifiers::NONE), Some(Key::Quit));
        assert_eq!(key(KeyCode::Char('c'), KeyModifiers::CONTROL), Some(Key::Quit));
        assert_eq!(key(KeyCode::Char('c'), KeyModifiers::NONE), None);
        assert_eq!(key(KeyCode::Char('m'), KeyModifiers::NONE), Some(Key::Mode));
        assert_eq!(meaning(&Event::Resize(10, 10)), Some(Key::Redraw));
        assert_eq!(meaning(&Event::FocusGained), None);
    }
}
