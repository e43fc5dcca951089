//! Bounds of what clients may send and of what a meeting may hold.

/// Longest meeting id, in bytes: that of a session.
pub const ID_BYTES: usize = 128;
/// Longest title, in characters.
pub const TITLE_CHARS: usize = 200;
/// Most participants of a meeting.
pub const PARTICIPANTS: usize = 100;
/// Longest id of a participant, in bytes.
pub const PARTICIPANT_ID_BYTES: usize = 64;
/// Longest name of a participant, in characters.
pub const NAME_CHARS: usize = 100;
/// Most principles of a meeting.
pub const PRINCIPLES: usize = 20;
/// Largest principle file, in bytes.
pub const PRINCIPLE_BYTES: usize = 64 * 1024;
/// Most principle files.
pub const PRINCIPLE_FILES: usize = 1_000;
/// Longest planned duration, in minutes.
pub const PLANNED_MINUTES: u32 = 24 * 60;
/// Longest text of a turn, in characters.
pub const TEXT_CHARS: usize = 10_000;
/// Most turns of a meeting.
pub const TURNS: usize = 20_000;
/// Largest audio message, in bytes of audio: five seconds.
pub const AUDIO_BYTES: usize = 240_000;
/// Largest WebSocket message, in bytes: the largest audio message in base64, and room around it.
pub const FRAME_BYTES: usize = 512 * 1024;
/// Most meetings in memory.
pub const OPEN_MEETINGS: usize = 1_000;
/// Messages that may wait for a client. A client that is further behind is disconnected and can join again.
pub const CLIENT_QUEUE: usize = 1_024;
/// Most clients of a meeting.
pub const CLIENTS: usize = 500;
/// Most decisions, action items, questions and interventions of a meeting, each.
pub const FINDINGS: usize = 2_000;

/// Returns at most `limit` characters of a text.
#[must_use]
pub fn cut(text: &str, limit: usize) -> &str {
    text.char_indices().nth(limit).map_or(text, |(end, _)| &text[..end])
}
