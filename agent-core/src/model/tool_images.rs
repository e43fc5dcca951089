//! Images of tool results: as a user message in protocols with text as tool results, or as a statement that they are left out.

#[cfg(feature = "openai")]
use std::sync::Arc;

#[cfg(feature = "openai")]
use super::ModelRequest;
use super::{Content, Message, Part, Role};

/// Collects the images of consecutive tool results.
///
/// Tool results have to follow their calls without a message between them, so that the images come after the last one.
#[cfg(feature = "openai")]
#[derive(Default)]
pub(super) struct ToolImages(Vec<Part>);

#[cfg(feature = "openai")]
impl ToolImages {
    /// Takes the next message of a conversation. Returns the message with the images of the results before it, if `message`
    /// is no further result.
    pub(super) fn before(&mut self, message: &Message) -> Option<Message> {
        if message.role != Role::Tool {
            return self.end();
        }
        if let Content::Parts(parts) = &message.content {
            let images = || parts.iter().filter(|part| matches!(part, Part::Image { .. }));
            if images().next().is_some() {
                let tool = message.name.as_deref().unwrap_or("the tool");
                let call = message.tool_call_id.as_deref().unwrap_or_default();
                self.0.push(Part::text(format!("Images in the result of {tool} ({call}):")));
                self.0.extend(images().cloned());
            }
        }
        None
    }

    /// Returns the message with the images of the results so far.
    pub(super) fn end(&mut self) -> Option<Message> {
        (!self.0.is_empty()).then(|| Message::user(std::mem::take(&mut self.0)))
    }
}

/// Returns the request with a statement in place of the images of tool results; `None` if there are none.
#[cfg(feature = "openai")]
pub(super) fn without(request: &ModelRequest) -> Option<ModelRequest> {
    let plain = |message: &Arc<Message>| match stated(message) {
        Some(text) => {
            let mut plain = Message::clone(message);
            plain.content = text.into();
            Arc::new(plain)
        }
        None => Arc::clone(message),
    };
    let has_images = request.messages.iter().any(|message| stated(message).is_some());
    has_images.then(|| {
        let mut request = request.clone();
        request.messages = request.messages.iter().map(plain).collect();
        request
    })
}

/// Returns the text of a tool result with images, with a statement that the images are left out; `None` without images.
pub(super) fn stated(message: &Message) -> Option<String> {
    let Content::Parts(parts) = &message.content else { return None };
    let images = parts.iter().filter(|part| matches!(part, Part::Image { .. })).count();
    let text = message.text();
    (message.role == Role::Tool && images > 0)
        .then(|| format!("{text}\n[{images} image(s) left out: this model cannot be shown images of tools]"))
}

#[cfg(all(test, feature = "openai"))]
mod tests {
    use super::*;

    #[test]
    fn images_follow_the_last_result_and_can_be_left_out() {
        let picture = Part::image_bytes("image/png", b"\x89PNG");
        let draw = Message::tool_result("c1", vec![Part::text("a dot"), picture.clone()]).with_name("draw");
        let messages = [draw, Message::tool_result("c2", "sunny"), Message::assistant("done")];
        let mut images = ToolImages::default();
        let placed: Vec<Option<Message>> = messages.iter().map(|message| images.before(message)).collect();
        assert!(placed[0].is_none() && placed[1].is_none());
        let label = Part::text("Images in the result of draw (c1):");
        assert_eq!(
            placed[2].as_ref().map(|message| &message.content),
            Some(&Content::Parts(vec![label, picture]))
        );
        assert_eq!(images.end(), None);

        let request = ModelRequest::new(Vec::from(messages));
        let plain = without(&request).expect("it has an image");
        assert_eq!(
            plain.messages[0].text(),
            "a dot\n[1 image(s) left out: this model cannot be shown images of tools]"
        );
        assert_eq!(without(&plain), None);
    }
}
