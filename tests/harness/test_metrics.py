import pytest

from harness.metrics import totals

PAGE = """\
# HELP vllm:num_requests_running Number of requests.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="a b"} 1.0
vllm:num_requests_running{engine="1",model_name="a b"} 2.0 1700000000
# TYPE waiting_seconds histogram
waiting_seconds_bucket{le="+Inf"} 4
waiting_seconds_sum 0.5
waiting_seconds_count 4
"""


def test_samples_are_summed_over_labels_and_keep_their_names() -> None:
    found = totals(PAGE)
    assert found.pop("vllm:num_requests_running") == 3
    assert found == {"waiting_seconds_bucket": 4, "waiting_seconds_sum": 0.5, "waiting_seconds_count": 4}


def test_another_page_is_told_from_one() -> None:
    with pytest.raises(ValueError, match="invalid metric name"):
        totals("<html><body>Not Found</body></html>")
