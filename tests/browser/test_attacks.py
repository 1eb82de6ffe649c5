"""What an agent's words and a hostile web page try on the operator's browser, and do not get."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest
from aiohttp import web
from playwright.async_api import Error, expect

pytestmark = pytest.mark.browser

PAYLOADS = [
    "<script>window.pwned=1</script>",
    "<img src=x onerror=window.pwned=1>",
    "<svg onload=window.pwned=1>",
    "<svg><script>window.pwned=1</script></svg>",
    "<iframe src=javascript:parent.pwned=1></iframe>",
    "<iframe srcdoc='<script>parent.pwned=1</script>'></iframe>",
    "<body onload=window.pwned=1>",
    "<input autofocus onfocus=window.pwned=1>",
    "<details open ontoggle=window.pwned=1>",
    "<video><source onerror=window.pwned=1></video>",
    "<a href=javascript:window.pwned=1>click</a>",
    "<form action=/api/actions/approve method=post><input name=id value=1><button>Go</form>",
    "<meta http-equiv=refresh content='0;url=http://evil.test/'>",
    "<base href=http://evil.test/>",
    "<link rel=stylesheet href=http://evil.test/x.css>",
    "<style>*{display:none}</style>",
    "<math><mi//xlink:href='data:x,<script>window.pwned=1</script>'>",
    "</textarea></title></style></script><img src=x onerror=window.pwned=1>",
    "${window.pwned=1}{{constructor.constructor('window.pwned=1')()}}",
]
HIDDEN = (
    "safe\u202etxt.exe\u2066x\u2069 zero\u200bwidth \x1b[2Jclear\x07 \U000e0041tag soft\u00adhyphen"
)
SHOWN = ("\\u202e", "\\u2066", "\\u2069", "\\u200b", "\\u001b", "\\u0007", "\\u{e0041}", "\\u00ad")


@contextlib.asynccontextmanager
async def site(html: str, **headers: str) -> AsyncIterator[str]:
    """Somebody else's web site on another port of the same host."""

    async def show(_: web.Request) -> web.Response:
        return web.Response(text=html, content_type="text/html", headers=headers)

    app = web.Application()
    app.router.add_get("/", show)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def test_no_words_of_an_agent_become_markup_or_script(tell) -> None:
    assert len(PAYLOADS) == 19

    async def story(visit) -> None:
        page, hive = visit.page, visit.hive
        await hive.agent("coder", status=PAYLOADS[1], turn_note=PAYLOADS[2])
        requests: list[str] = []
        page.on("request", lambda request: requests.append(request.url))
        for n, payload in enumerate(PAYLOADS):
            await hive.say("coder", "operator", payload)
            await hive.show("coder", "text", {"text": payload})
            await hive.show("coder", "note", {"text": payload})
            call = {"id": str(n), "name": payload, "input": {payload: payload}}
            await hive.show("coder", "tool_use", call)
            await hive.show("coder", "tool_result", {"id": str(n), "content": payload})
            bash = {"id": f"b{n}", "name": "Bash", "input": {"command": payload}}
            await hive.show("coder", "tool_use", bash)
        await hive.review.request_spawn(await hive.caller("manager"), "scout", "\n".join(PAYLOADS))
        await hive.system_event("coder", {"event": PAYLOADS[0], PAYLOADS[1]: PAYLOADS[2]})
        for path in ("/", "/agents/coder"):
            await visit.open(path)
            words = page.locator(".words, .said")
            for payload in PAYLOADS:
                shown = words.filter(has_text=payload.partition("\n")[0])
                assert await shown.count() > 0, payload
            strange = (
                "iframe, form:not(.stack), img, svg, video, style, meta[http-equiv], base, math"
            )
            assert await page.locator(f"main :is({strange})").count() == 0
            assert await page.evaluate("window.pwned") is None
        assert [url for url in requests if not url.startswith(visit.url)] == []

    tell(story)


def test_invisible_and_reordering_characters_are_shown_as_escapes(tell) -> None:
    async def story(visit) -> None:
        page, hive = visit.page, visit.hive
        sent = await hive.say("manager", "operator", HIDDEN)
        await hive.review.request_spawn(await hive.caller("manager"), "scout", HIDDEN)
        body = page.get_by_test_id(f"inbox-{sent.id}").get_by_test_id("body")
        for escape in SHOWN:
            await expect(body).to_contain_text(escape)
            await expect(page.get_by_test_id("reason")).to_contain_text(escape)

    tell(story)


def test_markup_that_got_in_all_the_same_can_do_nothing(tell) -> None:
    async def story(visit) -> None:
        page, hive = visit.page, visit.hive
        await hive.review.request_spawn(await hive.caller("manager"), "scout", "why")
        with pytest.raises(Error, match="TrustedHTML"):
            await page.evaluate("document.body.insertAdjacentHTML('beforeend', '<b>x</b>')")
        refused = await page.evaluate(
            """async () => {
              const refused = [];
              const note = (event) => refused.push(event.effectiveDirective);
              addEventListener("securitypolicyviolation", note);
              const form = document.createElement("form");
              form.action = "/api/actions/approve";
              form.method = "post";
              const image = new Image();
              image.src = "http://evil.test/x.png";
              const frame = document.createElement("iframe");
              frame.src = "/";
              const base = document.createElement("base");
              base.href = "http://evil.test/";
              document.body.append(form, image, frame, base);
              form.submit();
              for (const address of ["http://evil.test/", "data:text/plain,x"]) {
                await fetch(address).catch(() => {});
              }
              while (new Set(refused).size < 5) await new Promise((next) => setTimeout(next, 10));
              return refused.sort();
            }"""
        )
        assert set(refused) == {"base-uri", "connect-src", "form-action", "frame-src", "img-src"}
        assert page.url == visit.url + "/"
        assert hive.verbs.calls == []

    tell(story, may_complain=True)


def test_another_site_cannot_write_read_or_frame(tell) -> None:
    async def story(visit) -> None:
        hive, url = visit.hive, visit.url
        await hive.review.request_spawn(await hive.caller("manager"), "scout", "why")
        evil = f"""<!doctype html><iframe name=frame src="{url}/"></iframe>
          <form id=form method=post enctype=text/plain target=out
            action="{url}/api/actions/approve"><input name='{{"id":1,"digest":"' value='"}}'></form>
          <iframe name=out></iframe>"""
        async with site(evil) as address:
            page = await visit.context.new_page()
            for host in (address, address.replace("127.0.0.1", "localhost")):
                await page.goto(host)
                tried = await page.evaluate(
                    """async (url) => {
                      const one = (options, path) =>
                        fetch(url + path, { credentials: "include", ...options })
                          .then((a) => a.text(), () => "blocked");
                      const body = JSON.stringify({ id: 1, digest: "" });
                      const path = "/api/actions/approve";
                      const json = { "Content-Type": "application/json", "X-Hive": "page" };
                      document.getElementById("form").submit();
                      const stream = await new Promise((done) => {
                        const address = url + "/api/live";
                        const source = new EventSource(address, { withCredentials: true });
                        source.onopen = () => done("open");
                        source.onerror = () => { source.close(); done("blocked"); };
                      });
                      return [
                        await one({ method: "POST", body, headers: json }, path),
                        await one({ method: "POST", body, mode: "no-cors" }, path),
                        await one({}, "/api/snapshot"),
                        stream,
                      ];
                    }""",
                    url,
                )
                assert tried == ["blocked", "blocked", "blocked", "blocked"]
                frame = page.frame(name="frame")
                assert frame is not None
                assert await frame.locator("[data-testid=approve], [data-testid=home]").count() == 0
        assert hive.verbs.calls == []

    tell(story, may_complain=True)


@pytest.mark.parametrize("name", ["evil.test", "127.0.0.1.evil.test", "hive", "127.0.0.2"])
def test_a_name_that_was_bound_to_this_address_is_refused(tell, name: str) -> None:
    async def story(visit) -> None:
        port = int(visit.url.rpartition(":")[2])
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        cookies = await visit.context.cookies()
        cookie = "; ".join(f"{each['name']}={each['value']}" for each in cookies)
        for path in ("/", "/api/snapshot", "/api/live"):
            request = f"GET {path} HTTP/1.1\r\nHost: {name}:{port}\r\nCookie: {cookie}\r\n\r\n"
            writer.write(request.encode())
            status = await reader.readline()
            assert b" 403 " in status, path
            length = 0
            while (line := await reader.readline()) != b"\r\n":
                if line.lower().startswith(b"content-length:"):
                    length = int(line.split(b":")[1])
            assert b"evil" not in await reader.readexactly(length)
        writer.close()

    tell(story)


def test_the_cookie_does_not_reach_scripts_and_other_ports_cannot_replace_it(tell) -> None:
    async def story(visit) -> None:
        page = visit.page
        assert await page.evaluate("document.cookie") == ""
        [cookie] = await visit.context.cookies()
        tossed = {"Set-Cookie": f"{cookie['name']}=tossed; Path=/api"}
        async with site("<p>hello", **tossed) as address:
            other = await visit.context.new_page()
            await other.goto(address)
            assert len(await visit.context.cookies(visit.url + "/api/snapshot")) == 2
            status = await page.evaluate("fetch('/api/snapshot').then((a) => a.status)")
            assert status == 401

    tell(story, may_complain=True)


def test_words_in_the_stream_cannot_forge_an_event(tell) -> None:
    async def story(visit) -> None:
        page, hive = visit.page, visit.hive
        forged = "x\n\nevent: signed-out\ndata: {}\n\n\r\rid: 9-9\revent: resync\rdata: {}\r\r"
        sent = await hive.say("manager", "operator", forged)
        await expect(page.get_by_test_id(f"inbox-{sent.id}")).to_contain_text("event: signed-out")
        await expect(page.get_by_test_id("connection")).to_have_attribute("data-state", "live")

    tell(story)
