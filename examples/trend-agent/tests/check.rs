//! What a model's report may say: figures, quotes and review ids that the data has.

use trend_agent::{Findings, Request, check::check_report, report::facts};

fn faults(report: &str) -> Vec<String> {
    let message = "Analyse the Laneige reviews rated 1 to 5";
    check_report(report, &Findings::of(&Request::parse("Analyse the Laneige reviews")), message)
}

#[test]
fn what_the_data_has_may_be_said() {
    let findings = Findings::of(&Request::parse("Analyse the Laneige reviews"));
    assert_eq!(check_report(&facts(&findings), &findings, ""), Vec::<String>::new());
    for report in [
        "1. First\n2. Second\n\n**40** reviews, of which 20 are Korean.",
        "“The berry scent is lovely and not overpowering.” (LN-002)",
        "> The berry scent is lovely and not overpowering. (LN-002)",
        "A \"sticky\" feel and the Heartleaf 77% Soothing Toner are names. Rated out of 5.",
        "Review LN-002 praises the scent.",
        "리뷰 40건을 보았습니다. 5점 만점입니다.",
        "24 of 40 reviews are positive, mean rating 3.67 of 5.",
        "리뷰 40건 중 24건이 긍정입니다. 이 점은 두 제품 모두 같습니다.",
    ] {
        assert_eq!(faults(report), Vec::<String>::new(), "{report}");
    }
}

#[test]
fn what_the_data_does_not_have_is_named() {
    for (report, fault) in [
        ("977 reviewers love it.", "977"),
        ("About 83% are happy.", "83%"),
        ("A mean rating of 4.71.", "4.71"),
        ("Written on 2031-05-05.", "2031-05-05"),
        ("“I will marry this lip mask.”", "I will marry"),
        ("“The berry scent is lovely and not overpowering.” (LN-001)", "LN-001"),
        ("See LN-777.", "LN-777"),
        ("See AN-001, which is of another brand.", "AN-001"),
        ("> It cured my cold in a day.", "cured my cold"),
        ("- **Review 3:** it cured my cold in a day", "cured my cold"),
        ("Nearly sixty customers complained.", "sixty customers"),
        ("Half of the customers complained.", "half of"),
        ("seven reviewers complained", "seven reviewers"),
        ("구매자의 절반이 불만입니다.", "절반"),
        ("리뷰 1만 건을 보았습니다.", "×"),
        ("리뷰 오백 건 중 구십 퍼센트가 만족합니다.", "오백 건"),
        ("스물세 명이 불만입니다.", "스물세 명"),
        ("Mean rating 26.0 of 40.", "mean rating of 26.0"),
        ("40 of 40 positive.", "40 of 40"),
        ("리뷰 40건 중 30건이 긍정입니다.", "30 of 40"),
        ("The average rating is 4.75.", "mean rating of 4.75"),
    ] {
        let faults = faults(report);
        assert!(faults.iter().any(|named| named.contains(fault)), "{report}: {faults:?}");
    }
}

proptest::proptest! {
    #[test]
    fn any_report_is_checked_within_bounds(report in "\\PC{0,200}|[\"“”>0-9.,%\\- a-zA-Z리뷰건\n]{0,200}") {
        let faults = faults(&report);
        proptest::prop_assert!(faults.len() <= 8);
    }
}
