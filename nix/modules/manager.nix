# What the manager is based on: an agent that looks into repositories and checks what it proposes.
{ pkgs, ... }:
{
  imports = [ ./agent.nix ];

  environment.systemPackages = with pkgs; [
    diffutils
    less
    nixpkgs-fmt
  ];
}
