//! What the data has: brands, products, languages, shops, topics and days, with the number of reviews of each.

use super::super::{Say, line, product_name};
use crate::catalogue::{PRODUCTS, Product};
use crate::findings::Findings;
use crate::product_type::ProductType;
use crate::request::{Channel, Inventory};
use crate::review::{Language, Review};
use crate::topics::{Topic, topics_of};

/// One paragraph for each part that is asked for.
pub(super) fn listed(findings: &Findings) -> String {
    let say = Say(findings.request.language);
    let reviews = findings.source_reviews();
    let mut out = String::new();
    for part in &findings.request.inventory {
        line(&mut out, &paragraph(*part, findings, &reviews, say));
    }
    out
}

fn paragraph(part: Inventory, findings: &Findings, reviews: &[&Review], say: Say) -> String {
    let count = |fits: &dyn Fn(&Review) -> bool| reviews.iter().filter(|review| fits(review)).count();
    let kinds = |review: &Review| Product::find(&review.product).map_or(&[][..], |product| product.types);
    let request = &findings.request;
    let rows: Vec<(String, usize)> = match part {
        Inventory::Brands => findings
            .brands
            .iter()
            .map(|finding| (finding.brand.name(say.0).to_owned(), finding.reviews))
            .collect(),
        Inventory::Products => PRODUCTS
            .iter()
            .filter(|product| request.brands.contains(&product.brand) && request.means(product))
            .map(|product| {
                let name = format!("{} {}", product.brand.name(say.0), product_name(product.english, say));
                (name, count(&|review| review.product == product.english))
            })
            .collect(),
        Inventory::ProductTypes => ProductType::ALL
            .into_iter()
            .map(|kind| (kind.name(say.0).to_owned(), count(&|review| kinds(review).contains(&kind))))
            .collect(),
        Inventory::Languages => {
            [(say.of("한국어", "Korean"), Language::Korean), (say.of("영어", "English"), Language::English)]
                .into_iter()
                .map(|(name, language)| (name, count(&|review| review.lang == language)))
                .collect()
        }
        Inventory::Channels => Channel::ALL
            .into_iter()
            .map(|channel| {
                (channel.name(say.0).to_owned(), count(&|review| review.channel == channel.slug()))
            })
            .collect(),
        Inventory::Topics => Topic::ALL
            .into_iter()
            .map(|topic| (topic.name(say.0).to_owned(), count(&|review| topics_of(review).contains(&topic))))
            .collect(),
        Inventory::Period => return period(reviews, say),
    };
    let rows: Vec<(String, usize)> = rows.into_iter().filter(|(_, count)| *count > 0).collect();
    let name = name(part, rows.len(), say);
    let list = rows.iter().map(|(name, count)| {
        let reviews = if *count == 1 { "review" } else { "reviews" };
        say.of(&format!("{name} {count}건"), &format!("{name} ({count} {reviews})"))
    });
    let list = list.collect::<Vec<_>>().join(", ");
    let number = rows.len();
    say.of(&format!("{name} **{number}개**: {list}."), &format!("**{number}** {name}: {list}."))
}

fn period(reviews: &[&Review], say: Say) -> String {
    let days = reviews.iter().map(|review| review.date);
    let Some((from, to)) = days.clone().min().zip(days.max()) else {
        return say.of("리뷰가 없습니다.", "There are no reviews.");
    };
    let count = reviews.len();
    say.of(
        &format!("리뷰 {count}건은 **{from} ~ {to}**에 작성되었습니다."),
        &format!("The {count} reviews are from **{from} to {to}**."),
    )
}

fn name(part: Inventory, count: usize, say: Say) -> String {
    let (korean, one, several) = match part {
        Inventory::Brands => ("브랜드", "brand", "brands"),
        Inventory::Products => ("제품", "product", "products"),
        Inventory::ProductTypes => ("제품 종류", "product type", "product types"),
        Inventory::Languages => ("리뷰의 언어", "language of reviews", "languages of reviews"),
        Inventory::Channels => ("판매처의 종류", "kind of shop", "kinds of shops"),
        Inventory::Topics => ("주제", "topic", "topics"),
        Inventory::Period => ("기간", "period", "periods"),
    };
    say.of(korean, if count == 1 { one } else { several })
}
