"""The exposition is Prometheus's, and its size is bounded."""

from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from ailb_server.domain.chat import TokenUsage
from ailb_server.domain.target import Target
from ailb_server.telemetry.metrics import CONTENT_TYPE, Metrics
from ailb_server.telemetry.request_metrics import MAX_TARGET_LABELS


def _families(metrics: Metrics) -> dict[str, Metric]:
    text = metrics.exposition().decode()
    return {family.name: family for family in text_string_to_metric_families(text)}


def test_the_exposition_parses_and_says_what_was_told() -> None:
    metrics = Metrics("ailb-7", "1.2.3")
    target = Target("p", 'vendor/m:"1"\\\n')
    metrics.requests.attempt(target, 0.2, None)
    metrics.requests.attempt(target, 0.2, "UPSTREAM_TIMEOUT")
    metrics.requests.ended(target, "ok", 1.5)
    metrics.requests.first_token(target, 0.3)
    metrics.requests.overhead(0.0004)
    metrics.requests.used(target, TokenUsage(prompt=5), 12)
    families = _families(metrics)
    labels = {"provider": "p", "model": target.model}

    def samples(family: str) -> dict[str, float]:
        return {sample.name: sample.value for sample in families[family].samples}

    assert CONTENT_TYPE.startswith("text/plain")
    (build,) = families["ailb_build_info"].samples
    assert build.labels == {"module_id": "ailb-7", "version": "1.2.3"}
    (requests,) = [s for s in families["ailb_requests"].samples if s.name.endswith("_total")]
    assert (requests.labels, requests.value) == ({**labels, "outcome": "ok"}, 1)
    failures = [s for s in families["ailb_upstream_failures"].samples if s.name.endswith("_total")]
    assert [s.labels for s in failures] == [{**labels, "reason": "upstream_timeout"}]
    assert (
        samples("ailb_upstream_first_chunk_seconds")["ailb_upstream_first_chunk_seconds_count"] == 1
    )
    assert samples("ailb_cost_dollars")["ailb_cost_dollars_total"] == 12 / 1_000_000
    assert samples("ailb_request_seconds")["ailb_request_seconds_sum"] == 1.5
    assert "process_cpu_seconds" in families


def test_targets_past_the_cap_share_a_label() -> None:
    metrics = Metrics("ailb-1", "0")
    for index in range(MAX_TARGET_LABELS + 50):
        metrics.requests.ended(Target("p", f"m{index}"), "ok", 1)
    metrics.requests.ended(Target("p", "m0"), "ok", 1)
    counts = {
        sample.labels["model"]: sample.value
        for sample in _families(metrics)["ailb_requests"].samples
        if sample.name == "ailb_requests_total"
    }
    assert len(counts) == MAX_TARGET_LABELS + 1
    assert counts["other"] == 50
    assert counts["m0"] == 2


def test_instances_do_not_share_metrics() -> None:
    one, two = Metrics("1", "0"), Metrics("2", "0")
    one.vitals.began(stream=False)
    assert one.registry.get_sample_value("ailb_active_chats") == 1
    assert two.registry.get_sample_value("ailb_active_chats") == 0


def test_embedding_is_told_by_lane() -> None:
    metrics = Metrics("ailb-1", "0")
    metrics.embedding.embedded("query", "ok", 0.01)
    metrics.embedding.texts("bulk", cached=2, computed=3)
    metrics.embedding.waiting("bulk", 7)
    families = _families(metrics)
    (requests,) = [s for s in families["ailb_embedding_requests"].samples if s.value == 1][:1]
    assert requests.labels == {"lane": "query", "outcome": "ok"}
    texts = {
        (s.labels["lane"], s.labels["source"]): s.value
        for s in families["ailb_embedding_texts"].samples
        if s.name.endswith("_total")
    }
    assert texts == {("bulk", "cache"): 2, ("bulk", "model"): 3}
    (waiting,) = families["ailb_embedding_waiting_texts"].samples
    assert (waiting.labels, waiting.value) == ({"lane": "bulk"}, 7)


def test_refusals_are_counted_by_reason() -> None:
    metrics = Metrics("ailb-1", "0")
    for reason in ("invalid_request", "overloaded", "invalid_request"):
        metrics.refused(reason)
    samples = _families(metrics)["ailb_requests_refused"].samples
    counts = {s.labels["reason"]: s.value for s in samples if s.name.endswith("_total")}
    assert counts == {"invalid_request": 2, "overloaded": 1}
