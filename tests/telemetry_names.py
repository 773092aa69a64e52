"""The names that the app tells of requests by: what dashboards, alarms and the search for the log may rely on."""

FIELDS = (
    *("time", "event", "request_id", "endpoint", "error"),
    *("seconds", "decode_seconds", "inference_seconds", "rest_seconds"),
    *("bytes", "pixels", "format"),
    *("brightness", "contrast", "sharpness", "top", "confidence", "not_food", "low_confidence"),
    *("model", "commit"),
)
METRICS = {
    "seefood_requests_total",
    "seefood_errors_total",
    "seefood_request_seconds",
    "seefood_decode_seconds",
    "seefood_inference_seconds",
    "seefood_rest_seconds",
    "seefood_confidence",
    "seefood_not_food_total",
    "seefood_low_confidence_total",
    "seefood_drift",  # of make drift
}
