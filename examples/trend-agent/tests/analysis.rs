//! How a message is parsed, how reviews are selected and analysed, and what a hostile message cannot do.

use std::collections::HashSet;

use proptest::prelude::*;
use trend_agent::audience::Audience;
use trend_agent::catalogue::{Brand, PRODUCTS, Product};
use trend_agent::change::analyse_change;
use trend_agent::clause::clauses;
use trend_agent::collect::{Reason, collect, collect_from};
use trend_agent::findings::{BrandFinding, Findings};
use trend_agent::plan::{TODOS, parse_plan};
use trend_agent::report::write_report;
use trend_agent::request::{MESSAGE_CHARS, Request, Scope, UNKNOWN_CHARS, UNKNOWN_NAMES};
use trend_agent::review::{Language, demo_reviews, parse_reviews};
use trend_agent::sentiment::{analyse_sentiment, text_score};
use trend_agent::text::{is_hangul, sentences};
use trend_agent::topics::{Topic, analyse_topics};

// The data set

#[test]
fn the_shipped_data_is_what_its_readme_says() {
    let reviews = demo_reviews();
    assert_eq!(reviews.len(), 305);
    let ids: HashSet<_> = reviews.iter().map(|review| &review.id).collect();
    let texts: HashSet<_> = reviews.iter().map(|review| &review.text).collect();
    assert_eq!((ids.len(), texts.len()), (305, 305), "no id and no text twice");
    let korean = reviews.iter().filter(|review| review.lang == Language::Korean).count();
    assert!((140..=165).contains(&korean), "{korean} are Korean");
    for review in reviews {
        assert!(
            Product::find(&review.product).is_some_and(|product| product.brand == review.brand),
            "{}",
            review.id
        );
        assert_eq!(review.text.chars().any(is_hangul), review.lang == Language::Korean, "{}", review.id);
    }
    for brand in Brand::ALL {
        assert_eq!(Brand::from_name(brand.name(Language::Korean)), Some(brand));
        assert_eq!(Brand::from_name(brand.name(Language::English)), Some(brand));
        assert_eq!(PRODUCTS.iter().filter(|product| product.brand == brand).count(), 4);
    }
}

#[test]
fn a_bad_line_of_data_is_named() {
    let good = r#"{"id":"A","brand":"anua","product":"p","lang":"ko","rating":5,"date":"2026-01-01","text":"t","channel":"c"}"#;
    let fault = parse_reviews(&format!("{good}\n\n{{}}")).unwrap_err().to_string();
    assert_eq!(fault, "line 3 is not a review");
    let fault = parse_reviews(&good.replace(":5", ":9")).unwrap_err().to_string();
    assert_eq!(fault, "line 1 has the rating 9, outside 1 to 5");
}

// Requests

#[track_caller]
fn understood(message: &str, language: Language, scope: Scope, brands: &[Brand]) -> Request {
    let request = Request::parse(message);
    assert_eq!((request.language, request.scope), (language, scope), "{message}: {request:?}");
    assert_eq!(request.brands, brands, "{message}");
    request
}

#[test]
fn brands_are_understood_in_both_languages_with_particles_and_aliases() {
    use Brand::{Anua, BeautyOfJoseon, Cosrx, Laneige, RoundLab, Sulwhasoo};
    use Language::{English, Korean};
    for (message, language, brands) in [
        ("Analyse the Laneige reviews", English, &[Laneige][..]),
        ("라네즈의 리뷰를 분석해줘", Korean, &[Laneige]),
        ("라네즈랑 설화수 비교해 주세요", Korean, &[Laneige, Sulwhasoo]),
        ("Laneige 리뷰 분석해줘", Korean, &[Laneige]),
        ("analyse 라네즈", English, &[Laneige]),
        ("COSRX's reviews please", English, &[Cosrx]),
        ("조선 미녀 후기 요약", Korean, &[BeautyOfJoseon]),
        ("What do people say about beauty of joseon and Round Lab?", English, &[BeautyOfJoseon, RoundLab]),
        ("ANUA reviews", English, &[Anua]),
        ("라네즈", Korean, &[Laneige]),
        ("라네즈 리뷰를 영어로 정리해줘", English, &[Laneige]),
        ("Laneige reviews in Korean", Korean, &[Laneige]),
    ] {
        let request = understood(message, language, Scope::Named, brands);
        assert!(request.unknown.is_empty(), "{message}: {:?}", request.unknown);
    }
}

#[test]
fn a_part_of_a_word_is_not_a_brand() {
    for message in ["manual reviews of januarys", "the etudes"] {
        assert_ne!(Request::parse(message).scope, Scope::Named, "{message}");
    }
}

#[test]
fn without_a_subject_the_request_is_open() {
    for message in ["Analyse the latest skincare reviews", "안녕", "소비자들이 남긴 리뷰를 요약해줘", ""]
    {
        let request = understood(message, Request::parse(message).language, Scope::Open, &[]);
        assert_eq!(request.unknown, Vec::<String>::new(), "{message}");
    }
    assert_eq!(Request::parse("compare all brands").brands, Brand::ALL);
    assert_eq!(Request::parse("모든 브랜드 비교해줘").brands, Brand::ALL);
}

#[test]
fn the_answer_to_the_question_for_a_subject_keeps_the_rest_of_the_request() {
    let open = Request::parse("부정적인 리뷰를 마케터용으로 정리해줘");
    let request = open.with_subject("이니스프리").unwrap();
    assert_eq!((request.scope, request.brands.as_slice()), (Scope::Named, &[Brand::Innisfree][..]));
    assert_eq!((request.sentiment, request.audience), (open.sentiment, Some(Audience::Marketers)));
    assert_eq!(open.with_subject("All brands").unwrap().brands, Brand::ALL);
    let sunscreens = [Brand::Innisfree, Brand::BeautyOfJoseon, Brand::RoundLab];
    assert_eq!(open.with_subject("선크림").unwrap().brands, sunscreens);
    assert_eq!(open.with_subject("글쎄요"), None);
}

#[test]
fn an_unknown_brand_gets_a_clear_statement() {
    let request = understood("analyse the Foobar reviews", Language::English, Scope::Unknown, &[]);
    let statement = request.statement().unwrap();
    assert!(statement.contains("Foobar") && statement.contains("Laneige (라네즈)"), "{statement}");

    let request = understood("미샤의 후기 분석해줘", Language::Korean, Scope::Unknown, &[]);
    let statement = request.statement().unwrap();
    assert!(statement.contains("미샤") && statement.contains("라네즈 (Laneige)"), "{statement}");
    let report = write_report(&Findings::of(&request), Audience::Buyers);
    assert!(report.contains(&statement), "{report}");

    // A known one beside it is still analysed.
    let request =
        understood("Compare Glossier reviews with Anua", Language::English, Scope::Named, &[Brand::Anua]);
    assert_eq!(request.unknown, ["Glossier"]);
}

#[test]
fn topic_period_product_and_reader_are_understood() {
    let request = Request::parse("COSRX의 최근 3개월 향 리뷰를 마케터용으로 정리해 주세요");
    assert_eq!((request.topics, request.audience), (vec![Topic::Scent], Some(Audience::Marketers)));
    assert_eq!(request.period.unwrap().to.to_string(), "2026-08-24");
    assert_eq!(request.period.unwrap().from.to_string(), "2026-05-25");

    for (message, from, to) in [
        ("anua reviews of March 2026", "2026-03-01", "2026-03-31"),
        ("아누아 2026년 2월 리뷰", "2026-02-01", "2026-02-28"),
        ("anua 2026-02", "2026-02-01", "2026-02-28"),
        ("anua in 2025", "2025-01-01", "2025-12-31"),
        ("아누아 2025년 리뷰", "2025-01-01", "2025-12-31"),
        ("anua, last two weeks", "2026-08-11", "2026-08-24"),
        ("anua, past quarter", "2026-05-25", "2026-08-24"),
        ("아누아 지난 한 달", "2026-07-25", "2026-08-24"),
    ] {
        let period = Request::parse(message).period.unwrap_or_else(|| panic!("{message} has a period"));
        assert_eq!((period.from.to_string(), period.to.to_string()), (from.into(), to.into()), "{message}");
    }
    assert_eq!(Request::parse("anua reviews").period, None);

    let request = Request::parse("Water Bank Blue Hyaluronic Cream for buyers");
    assert_eq!(request.brands, [Brand::Laneige], "a product implies its brand");
    assert_eq!(request.products, ["Water Bank Blue Hyaluronic Cream"]);
    assert_eq!((request.audience, request.topics), (Some(Audience::Buyers), vec![]));
}

#[test]
fn the_labels_of_the_question_are_understood_as_answers() {
    for language in [Language::Korean, Language::English] {
        for (audience, label) in Audience::ALL.into_iter().zip(Audience::options(language)) {
            assert_eq!(Audience::parse(label), Some(audience), "{label}");
        }
    }
    assert_eq!(Audience::parse("브랜드 담당자"), Some(Audience::Makers));
    assert_eq!(Audience::parse("buyers and marketers"), None, "two are as open as none");
    assert_eq!(Audience::parse("whatever"), None);
}

#[test]
fn a_huge_message_is_read_up_to_its_bound_and_says_so() {
    let huge = format!("라네즈 리뷰 {}", "아누아 Glossier 리뷰 ".repeat(200_000));
    let request = Request::parse(&huge);
    assert!(request.cut);
    assert!(request.unknown.len() <= UNKNOWN_NAMES);
    let late = format!("{}설화수", "가".repeat(MESSAGE_CHARS));
    assert!(!Request::parse(&late).brands.contains(&Brand::Sulwhasoo));
    let long_name = format!("analyse the {} reviews", "X".repeat(3_000));
    assert_eq!(Request::parse(&long_name).unknown, ["X".repeat(UNKNOWN_CHARS)]);
}

#[test]
fn an_unknown_name_cannot_carry_markup_into_the_report() {
    let request =
        Request::parse("<script>alert(1)</script> reviews and [x](javascript:y) reviews `|` reviews");
    let report = write_report(&Findings::of(&request), Audience::Buyers);
    for forbidden in ["<", "](", "`"] {
        assert!(!report.contains(forbidden), "{report}");
    }
}

proptest! {
    #[test]
    fn any_message_is_read_the_same_way_twice_and_within_bounds(message in "\\PC{0,200}|[가-힣 ]{0,60}(리뷰|후기)[가-힣 ]{0,9}|([A-Za-z]{1,9} ){0,9}reviews") {
        let request = Request::parse(&message);
        prop_assert_eq!(&request, &Request::parse(&message));
        prop_assert_eq!(request.brands.is_empty(), matches!(request.scope, Scope::Open | Scope::Unknown));
        prop_assert!(request.unknown.iter().all(|name| name.chars().count() <= UNKNOWN_CHARS));
        let kept: Request = serde_json::from_str(&serde_json::to_string(&request).unwrap()).unwrap();
        prop_assert_eq!(kept, request);
    }

    #[test]
    fn any_text_is_scored_within_bounds_and_cut_without_loss(text in "\\PC{0,120}|[가-힣.,! ]{0,60}") {
        let score = text_score(&text);
        prop_assert!((-1.0..=1.0).contains(&score));
        for sentence in sentences(&text) {
            prop_assert!(text.contains(sentence));
            for clause in clauses(sentence) {
                prop_assert!(sentence.contains(clause));
            }
        }
    }

    #[test]
    fn any_answer_of_a_model_is_a_bounded_plan_or_a_typed_error(answer in "\\PC{0,200}|[\\[\\]{}\",:a-z0-9 ]{0,200}") {
        if let Ok(plan) = parse_plan(&answer) {
            prop_assert!((1..=TODOS).contains(&plan.len()));
        }
    }
}

// Collecting

#[test]
fn what_is_kept_and_what_is_dropped_add_up() {
    for message in [
        "라네즈",
        "Laneige scent in 2026",
        "laneige Lip Sleeping Mask price, last month",
        "anua cosrx delivery",
    ] {
        let request = Request::parse(message);
        for brand in &request.brands {
            for bound in [0, 1, 7, 200] {
                let collected = collect_from(demo_reviews(), &request, *brand, bound);
                let dropped: usize = collected.dropped.iter().map(|dropped| dropped.count).sum();
                assert_eq!(collected.reviews.len() + dropped, collected.considered, "{message} {bound}");
                assert!(collected.reviews.len() <= bound);
                assert!(collected.dropped.iter().all(|dropped| dropped.count > 0));
                assert!(collected.reviews.is_sorted_by_key(|review| review.date));
            }
        }
    }
}

#[test]
fn a_sample_keeps_both_languages_and_is_the_same_whatever_the_order_of_the_data() {
    let request = Request::parse("라네즈");
    let forward = collect_from(demo_reviews(), &request, Brand::Laneige, 10);
    let mut reviews = demo_reviews().to_vec();
    reviews.reverse();
    assert_eq!(collect_from(&reviews, &request, Brand::Laneige, 10), forward);
    let korean = forward.reviews.iter().filter(|review| review.lang == Language::Korean).count();
    assert_eq!(korean, 5);
}

#[test]
fn duplicates_and_empty_reviews_are_dropped_with_their_reason() {
    let mut reviews: Vec<_> =
        demo_reviews().iter().filter(|review| review.brand == Brand::Anua).take(3).cloned().collect();
    let mut again = reviews[0].clone();
    again.id = "AN-900".into();
    let mut short = reviews[1].clone();
    short.text = "👍👍 굿".into();
    reviews.extend([again, short]);
    let collected = collect_from(&reviews, &Request::parse("anua"), Brand::Anua, 100);
    let reasons: Vec<_> = collected.dropped.iter().map(|dropped| (dropped.reason, dropped.count)).collect();
    assert_eq!(reasons, [(Reason::TooShort, 1), (Reason::Duplicate, 1)]);
}

#[test]
fn a_product_narrows_its_own_brand_only() {
    let request = Request::parse("Water Bank Blue Hyaluronic Cream against Anua");
    let laneige = collect(&request, Brand::Laneige);
    assert!(laneige.reviews.iter().all(|review| review.product == "Water Bank Blue Hyaluronic Cream"));
    let anua = collect(&request, Brand::Anua);
    assert_eq!(anua.reviews.len(), anua.considered);
}

// Sentiment

#[test]
fn negation_turns_an_opinion_in_both_languages() {
    for (good, bad) in [
        ("It is not sticky at all", "It is sticky"),
        ("never greasy", "so greasy"),
        ("no white cast", "a white cast"),
        ("without stinging", "it stings"),
        ("a non-greasy cream", "a greasy cream"),
        ("It is comfortable", "It is not comfortable"),
        ("calmed my redness", "redness"),
        ("끈적이지 않아요", "끈적여요"),
        ("안 끈적여요", "끈적거려요"),
        ("따갑지도 않고 무겁지 않아요", "따갑고 무거워요"),
        ("자극이 전혀 없어요", "자극이 있어요"),
        ("백탁 없이 발려요", "백탁이 심해요"),
        ("당김이 사라졌어요", "당김이 있어요"),
        ("촉촉해요", "촉촉하지 않아요"),
        ("추천해요", "추천하지 않아요"),
    ] {
        assert!(text_score(good) > 0.0, "{good}: {}", text_score(good));
        assert!(text_score(bad) < 0.0, "{bad}: {}", text_score(bad));
    }
    assert_eq!(text_score("I bought it on Tuesday."), 0.0);
    assert_eq!(text_score("화요일에 샀어요."), 0.0);
}

/// The word lists were written beside these reviews, so this is a floor against breakage, not a measure of skill; that is
/// the next test. A text without a known word counts as wrong.
#[test]
fn the_text_alone_agrees_with_the_rating_in_nine_of_ten_shipped_reviews() {
    for language in [Language::Korean, Language::English] {
        let clear: Vec<_> =
            demo_reviews().iter().filter(|review| review.lang == language && review.rating != 3).collect();
        let right = clear
            .iter()
            .filter(|review| {
                let score = text_score(&review.text);
                if review.rating > 3 { score > 0.0 } else { score < 0.0 }
            })
            .count();
        assert!(right * 10 >= clear.len() * 9, "{language:?}: {right} of {}", clear.len());
    }
}

/// Sentences that were not looked at while the word lists were written. A text without a known word counts as wrong.
#[test]
fn the_text_alone_is_right_in_three_of_four_unseen_sentences() {
    const GOOD: [&str; 14] = [
        "I reach for this every single morning and my cheeks stay soft.",
        "Great little cream, my husband uses it too.",
        "It did not irritate my eyes, which is rare for me.",
        "Sinks in within a minute and leaves no greasy residue.",
        "My skin has been so much calmer since I switched.",
        "Perfect for travel and surprisingly affordable.",
        "The scent is subtle and the pump works well.",
        "하루 종일 촉촉함이 유지되고 화장이 들뜨지 않아요.",
        "가격도 저렴하고 양도 많아서 만족스러워요.",
        "향이 강하지 않아서 좋았어요.",
        "피부가 한결 부드러워졌어요. 또 살 거예요.",
        "예민한 편인데 트러블이 하나도 안 났어요.",
        "가볍게 발리고 번들거리지 않네요.",
        "배송도 빠르고 포장도 꼼꼼했습니다.",
    ];
    const BAD: [&str; 14] = [
        "My forehead was covered in bumps by the weekend.",
        "It smells awful and the lid does not close.",
        "Way too greasy for me, I had to wash it off.",
        "It did nothing for my dark circles.",
        "The bottle leaked all over the box.",
        "I would not recommend this to anyone with dry skin.",
        "Burned my eyes and pilled under foundation.",
        "바르자마자 얼굴이 따갑고 빨개졌어요.",
        "생각보다 너무 건조하고 당겨요.",
        "용기가 불편하고 양이 적어요.",
        "돈이 아까워요. 효과를 전혀 못 느꼈어요.",
        "향이 너무 독해서 머리가 아파요.",
        "끈적거려서 다시는 안 쓸 것 같아요.",
        "배송이 늦고 상자가 찢어져 있었어요.",
    ];
    let wrong: Vec<&str> = GOOD
        .into_iter()
        .filter(|text| text_score(text) <= 0.0)
        .chain(BAD.into_iter().filter(|text| text_score(text) >= 0.0))
        .collect();
    assert!(wrong.len() * 4 <= GOOD.len() + BAD.len(), "{} wrong: {wrong:#?}", wrong.len());
}

// Counting

#[test]
fn the_figures_add_up_and_are_the_same_every_time() {
    let request = Request::parse("모든 브랜드");
    let findings = Findings::of(&request);
    assert_eq!(findings.reviews(), 305);
    for finding in &findings.brands {
        let sentiment = &finding.sentiment;
        assert_eq!(sentiment.positive + sentiment.neutral + sentiment.negative, finding.reviews);
        assert_eq!(sentiment.reviews.len(), finding.reviews);
        assert_eq!(finding.products.iter().map(|tally| tally.reviews).sum::<usize>(), finding.reviews);
        assert!(finding.topics.len() >= 8, "{:?} has only {} topics", finding.brand, finding.topics.len());
        for topic in &finding.topics {
            assert_eq!(topic.positive + topic.neutral + topic.negative, topic.count, "{topic:?}");
            assert!(topic.count <= finding.reviews && topic.share <= 1.0);
        }
        let change = finding.change.as_ref().unwrap();
        assert_eq!(change.earlier.reviews + change.later.reviews, finding.reviews);
        assert!(change.earlier.to <= change.later.from);
    }
    assert_eq!(Findings::of(&request), findings);
    let kept: Findings = serde_json::from_str(&serde_json::to_string(&findings).unwrap()).unwrap();
    assert_eq!(kept, findings, "figures survive being stored");
}

#[test]
fn every_quote_stands_in_the_review_it_names() {
    for finding in Findings::of(&Request::parse("all brands")).brands {
        for quote in finding.topics.iter().flat_map(|topic| &topic.quotes) {
            let review = demo_reviews().iter().find(|review| review.id == quote.review).unwrap();
            assert!(review.text.contains(&quote.text), "{quote:?}");
            assert_eq!((review.lang, review.rating, review.brand), (quote.lang, quote.rating, finding.brand));
        }
    }
}

#[test]
fn contrast_gives_each_topic_its_own_leaning() {
    let mut review = demo_reviews()[0].clone();
    let mut check = |text: &str, topic: Topic, good: bool| {
        review.text = text.into();
        let found = analyse_topics(std::slice::from_ref(&review));
        let finding = found
            .iter()
            .find(|finding| finding.topic == topic)
            .unwrap_or_else(|| panic!("{topic:?} in {text}"));
        assert_eq!(
            (finding.positive, finding.negative),
            (usize::from(good), usize::from(!good)),
            "{topic:?} in {text}"
        );
    };
    check("Lovely scent, but far too expensive.", Topic::Scent, true);
    check("Lovely scent, but far too expensive.", Topic::Price, false);
    check("보습은 좋은데 끈적여요.", Topic::Hydration, true);
    check("보습은 좋은데 끈적여요.", Topic::Texture, false);
}

#[test]
fn nothing_to_analyse_is_no_fault() {
    assert!(analyse_topics(&[]).is_empty());
    assert_eq!(analyse_sentiment(&[]).mean_score, 0.0);
    assert_eq!(analyse_change(&demo_reviews()[..3]), None);
    let request = Request::parse("라네즈 1999년은 아니고 2001년 리뷰");
    let findings = Findings::of(&request);
    assert_eq!(findings.reviews(), 0);
    let report = write_report(&findings, Audience::Buyers);
    assert!(report.contains("전체 리뷰 40건 중 0건") && report.contains("기간 밖 40건"), "{report}");
}

#[test]
fn brands_finished_in_any_order_are_reported_in_the_order_of_the_request() {
    let request = Request::parse("laneige, anua and cosrx");
    let mut parts: Vec<_> =
        request.brands.iter().map(|brand| BrandFinding::of(&collect(&request, *brand))).collect();
    parts.reverse();
    assert_eq!(Findings::new(request.clone(), parts), Findings::of(&request));
}
