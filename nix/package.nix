# The program as a package. Not built in our tests: there is no binary cache there (docs/nix.md).
{ lib, python3Packages, bubblewrap, git }:
python3Packages.buildPythonApplication {
  pname = "hyperhive";
  version = "0-unstable";
  pyproject = true;
  src = lib.cleanSource ../.;

  build-system = [ python3Packages.hatchling ];
  dependencies = with python3Packages; [
    aiohttp
    aiohttp-sse
    click
    mcp
    msgspec
    prometheus-client
    rich
    structlog
  ];

  makeWrapperArgs = [ "--suffix PATH : ${lib.makeBinPath [ bubblewrap git ]}" ];
  # They need namespaces, Chromium and a claude program: ./check.
  doCheck = false;

  meta = {
    description = "Run a swarm of coding agents on your own Linux host";
    license = lib.licenses.mit;
    mainProgram = "hive";
    platforms = lib.platforms.linux;
  };
}
