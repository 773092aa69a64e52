"""Behind nginx, with TLS, at a path: what deploy/nginx.conf promises. The certificate is made here, and verified."""

import json
import re
import ssl
import subprocess
from urllib.parse import urljoin

import httpx
import pytest
from gradio_client import Client, handle_file
from nginx import NGINX, started_nginx
from PIL import Image
from serving import EXAMPLES, ROOT, free_port, started_app

from seefood.names import display_name

pytestmark = pytest.mark.skipif(NGINX is None, reason="nginx is not installed (.ci/run does it)")

SERVER = """
    server {{
        listen 127.0.0.1:{port} ssl;
        server_name localhost;
        ssl_certificate {folder}/certificate.pem;
        ssl_certificate_key {folder}/key.pem;
        include {folder}/location.conf;
    }}
"""


def make_certificate(folder):
    command = (
        "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=DNS:localhost"
    )
    files = ["-keyout", folder / "key.pem", "-out", folder / "certificate.pem"]
    subprocess.run([*command.split(), *files], check=True, capture_output=True)
    return ssl.create_default_context(cafile=folder / "certificate.pem")


@pytest.fixture(scope="module")
def proxied(model_file, tmp_path_factory):
    """The address of the app behind nginx, and the TLS context that trusts its certificate."""
    folder = tmp_path_factory.mktemp("nginx")
    trust = make_certificate(folder)
    port = free_port()
    limits = {"SEEFOOD_RATE_LIMIT": "60", "SEEFOOD_QUEUE_LENGTH": "40"}
    with started_app(model_file, folder, GRADIO_ROOT_PATH="/seefood", **limits) as app:
        location = (ROOT / "deploy/nginx.conf").read_text()
        assert "http://127.0.0.1:7860/" in location
        (folder / "location.conf").write_text(location.replace("http://127.0.0.1:7860/", f"{app.url}/"))
        with started_nginx(folder, port, SERVER.format(folder=folder, port=port)):
            yield f"https://localhost:{port}/seefood/", trust


@pytest.fixture(scope="module")
def browser(proxied):
    url, trust = proxied
    with httpx.Client(base_url=url, verify=trust, timeout=60) as browser:
        yield browser


def test_the_page_and_all_that_it_loads_come_from_below_the_path(browser, proxied):
    url, _ = proxied
    page = browser.get("")
    assert page.status_code == 200
    links = re.findall(r'(?:src|href)="([^"]+\.(?:js|css|svg|png|ico|json))"', page.text)
    assert len(links) >= 3
    for link in set(links) - {"/manifest.json"}:  # Gradio names it without the path; only an installed page wants it
        address = urljoin(url, link)
        assert address.startswith(url), link
        assert browser.get(address).status_code == 200, link
    config = browser.get("config").json()
    assert config["root"] == url.rstrip("/")
    addresses = set(re.findall(r'"(https?://[^"/]*localhost[^"]*)"', json.dumps(config)))
    assert addresses
    assert all(address.startswith(url.rstrip("/")) for address in addresses)


def test_gradio_client_predicts_and_gets_the_heat_map(proxied, predictor, tmp_path):
    url, trust = proxied
    client = Client(url, ssl_verify=trust, verbose=False, analytics_enabled=False, download_files=tmp_path)
    answer = client.predict(handle_file(EXAMPLES[0]), api_name="/predict")
    assert answer["label"] == display_name(predictor.predict(EXAMPLES[0]).top(1)[0][0])
    assert Image.open(client.predict(handle_file(EXAMPLES[0]), api_name="/explain")).width > 1


def test_classify_answers_behind_the_proxy_and_goes_by_the_callers_address(browser, predictor):
    content = EXAMPLES[0].read_bytes()
    # What the caller claims of himself nginx replaces, so that he has one allowance and not one for each claim.
    responses = [
        browser.post("classify", files={"photo": content}, headers={"X-Forwarded-For": f"192.0.2.{number}"})
        for number in range(60)
    ]
    assert responses[0].json()["label"] == display_name(predictor.predict(content).top(1)[0][0])
    assert {response.status_code for response in responses} == {200, 429}
