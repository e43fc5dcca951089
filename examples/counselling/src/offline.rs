//! The counsellor without a model: fixed, careful answers by emotion, so that the service can be tried without a key.

use agent_core::model::{ChatModel, Delta, FinishReason, ModelError, ModelRequest, ModelStream, Role};
use futures::stream;

use crate::{Emotion, Language, prompt::guidance};

/// A model that answers from a script.
///
/// # Examples
///
/// ```
/// use agent_core::model::{Model, ModelRequest};
/// use counselling::{Emotion, Language, offline::OfflineCounsellor, prompt::system};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), agent_core::model::ModelError> {
/// let model = Model::new(OfflineCounsellor::new(Language::Korean));
/// let request = ModelRequest::new("요즘 우울해요").system(system(Emotion::Sad, Language::Korean, false));
/// assert!(model.complete(request).await?.message.text().contains("슬픔"));
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, Copy)]
pub struct OfflineCounsellor {
    language: Language,
}

impl OfflineCounsellor {
    /// Creates a counsellor. It answers in the language of the system prompt, or in `language` without one.
    #[must_use]
    pub const fn new(language: Language) -> Self {
        Self { language }
    }

    fn answer(self, request: &ModelRequest) -> &'static str {
        let system = request.system.as_deref().unwrap_or_default();
        let languages = [Language::Korean, Language::English];
        let mut all =
            languages.into_iter().flat_map(|language| Emotion::ALL.map(|emotion| (emotion, language)));
        let guided = all.find(|(emotion, language)| system.contains(guidance(*emotion, *language)));
        let (emotion, language) = guided.unwrap_or((Emotion::Neutral, self.language));
        let earlier = request.messages.iter().filter(|message| message.role == Role::Assistant).count();
        let [first, second] = answers(emotion, language);
        if earlier % 2 == 0 { first } else { second }
    }
}

const fn answers(emotion: Emotion, language: Language) -> [&'static str; 2] {
    match language {
        Language::Korean => korean(emotion),
        Language::English => english(emotion),
    }
}

const fn korean(emotion: Emotion) -> [&'static str; 2] {
    match emotion {
        Emotion::Happy => [
            "목소리에서 기쁨이 느껴져서 저도 반가워요. 그 순간을 떠올리면 어떤 장면이 가장 먼저 생각나세요?",
            "좋은 마음을 나눠 주셔서 고마워요. 오늘 그 기쁨을 만든 일 하나를 적어 두면 힘든 날에 도움이 될 거예요. 무엇을 적고 싶으세요?",
        ],
        Emotion::Sad => [
            "마음이 많이 가라앉아 계시는군요. 그 슬픔을 혼자 안고 오시느라 힘드셨겠어요. 오늘 하루 중 조금이라도 숨이 트였던 순간이 있었나요?",
            "그렇게 느끼시는 게 당연해요. 지금 할 수 있는 가장 작은 일, 이를테면 물 한 잔이나 짧은 산책을 골라 볼까요?",
        ],
        Emotion::Angry => [
            "정말 화가 나셨군요. 그럴 만한 일이었을 것 같아요. 무엇이 가장 부당하게 느껴졌는지 말해 주시겠어요?",
            "화가 나는 마음은 소중한 것이 다쳤다는 신호이기도 해요. 상대에게 한 문장만 전한다면 어떤 말을 하고 싶으세요?",
        ],
        Emotion::Anxious => [
            "불안한 마음이 크시군요. 우선 저와 함께 숨을 천천히 내쉬어 볼까요? 그다음 지금 가장 걱정되는 일 하나만 말해 주세요.",
            "걱정이 꼬리를 물면 지치기 쉬워요. 그 걱정에서 확실한 사실과 아직 추측인 부분을 하나씩 나눠 볼까요?",
        ],
        Emotion::Neutral => [
            "이야기해 주셔서 고마워요. 요즘 마음은 어떤 날씨에 가까운가요?",
            "그랬군요. 그 일이 있을 때 어떤 생각이 가장 먼저 떠오르셨나요?",
        ],
        Emotion::Surprised => [
            "많이 놀라셨겠어요. 서두르지 않아도 괜찮으니 무슨 일이 있었는지 천천히 들려주세요.",
            "예상하지 못한 일은 마음이 따라가는 데 시간이 걸려요. 그 순간 몸에서는 어떤 느낌이 들었나요?",
        ],
        Emotion::Disgusted => [
            "불쾌하고 거북하셨겠어요. 그렇게 느끼시는 건 자연스러운 일이에요. 어떤 부분이 선을 넘었다고 느끼셨나요?",
            "그 상황에서 자신을 지키고 싶은 마음이 드셨군요. 다음에는 어디까지 괜찮은지 한 문장으로 정해 볼까요?",
        ],
        Emotion::Fearful => [
            "두려운 마음이 드시는군요. 지금 이 자리는 안전하니 천천히 이야기해요. 무엇이 가장 무섭게 느껴지나요?",
            "무서운데도 이야기해 주셔서 고마워요. 그 일에서 가장 작은 첫걸음을 하나 고른다면 무엇이 될까요?",
        ],
    }
}

const fn english(emotion: Emotion) -> [&'static str; 2] {
    match emotion {
        Emotion::Happy => [
            "I can feel your joy, and I am glad with you. Which moment comes to mind first?",
            "Thank you for sharing this. What made it possible today, and how could you keep a little of it?",
        ],
        Emotion::Sad => [
            "It sounds as if your heart is heavy, and you have carried this for a while. Was there a moment today when it felt a little lighter?",
            "It makes sense that you feel this way. What is the smallest kind thing you could do for yourself now?",
        ],
        Emotion::Angry => [
            "You are really angry, and I can see why. What felt most unfair to you?",
            "Anger often shows that something important was hurt. If you could say one sentence about it, what would it be?",
        ],
        Emotion::Anxious => [
            "That is a lot of worry. Let us breathe out slowly together first. Then name the one thing that worries you most.",
            "Worries like to chain together. Shall we separate what you know from what you fear?",
        ],
        Emotion::Neutral => [
            "Thank you for talking to me. If your mood were the weather, what would it be today?",
            "I see. What was the first thought you had when that happened?",
        ],
        Emotion::Surprised => [
            "That must have been a surprise. Take your time: what happened?",
            "Unexpected things need a while to settle. What did you notice in your body at that moment?",
        ],
        Emotion::Disgusted => [
            "That sounds very unpleasant, and your reaction is natural. Which line was crossed for you?",
            "You wanted to protect yourself there. Where would you like the boundary to be next time?",
        ],
        Emotion::Fearful => [
            "I understand that you are afraid. You are safe here, so let us go slowly. What feels most frightening?",
            "Thank you for saying it although it is scary. What would be the smallest first step?",
        ],
    }
}

impl ChatModel for OfflineCounsellor {
    fn name(&self) -> &str {
        "offline counsellor"
    }

    async fn stream(&self, request: ModelRequest) -> Result<ModelStream, ModelError> {
        let words = self.answer(&request).split_inclusive(' ').map(|word| Ok(Delta::text(word)));
        let end = Ok(Delta::Finished { reason: FinishReason::Stop });
        Ok(ModelStream::new(stream::iter(words.chain([end]).collect::<Vec<_>>())))
    }
}
