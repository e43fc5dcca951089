//! Every goal under criterion: `cargo bench -p benches --bench goals -- 'fan-out'`.

use std::time::Duration;

use benches::goals;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

fn every_goal(criterion: &mut Criterion) {
    for make in goals::all() {
        let mut subject = make();
        let mut group = criterion.benchmark_group(subject.name);
        group.throughput(Throughput::Elements(subject.units));
        group.bench_function("ours", |bencher| bencher.iter_custom(|times| (subject.ours)(times)));
        group.bench_function("floor", |bencher| bencher.iter_custom(|times| (subject.floor)(times)));
        group.finish();
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(2))
        .without_plots();
    targets = every_goal
}
criterion_main!(benches);
