# What every agent of a hive is based on. agent.nix of its configuration comes on top.
{ config, lib, pkgs, ... }:
let
  cfg = config.hyperhive.agent;
  text = description: lib.mkOption { type = lib.types.str; inherit description; };
in {
  options.hyperhive.agent = {
    hive = text "What the hive calls itself.";
    id = text "The agent's id: twelve hexadecimal digits that never come back.";
    name = text "The agent's name.";
    operatorPronouns = text "How agents speak of the operator.";
    role = text "agent or manager.";
  };

  config = {
    # No kernel, no boot loader: a sandbox of the hive, or nixos-container.
    boot.isContainer = true;
    networking.hostName = lib.mkDefault cfg.name;
    documentation.enable = lib.mkDefault false;
    system.stateVersion = lib.mkDefault "25.05";

    # claude-code is unfree. This lets in exactly that, so that nobody has to set anything.
    nixpkgs.config.allowUnfreePredicate =
      package: builtins.elem (lib.getName package) [ "claude-code" ];

    environment.systemPackages = with pkgs; [
      bashInteractive
      coreutils
      curl
      findutils
      git
      gnugrep
      gnused
      jq
      ripgrep
    ];

    environment.etc."hyperhive/agent.json".text = builtins.toJSON {
      inherit (cfg) hive id name operatorPronouns role;
    };
  };
}
