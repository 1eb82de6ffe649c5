# A shell to work on hyperhive in: nix develop ./nix
{ pkgs }:
pkgs.mkShell {
  packages = with pkgs; [
    bubblewrap
    chromium
    git
    python3
    ripgrep
    ruff
    strace
  ];
}
