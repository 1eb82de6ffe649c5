# services.hyperhive: the daemon of one hive on a NixOS host (docs/nix.md).
{ config, lib, pkgs, ... }:
let
  cfg = config.services.hyperhive;
  toml = pkgs.formats.toml { };
  settings = toml.generate "hive.toml" cfg.settings;
in {
  options.services.hyperhive = {
    enable = lib.mkEnableOption "hyperhive, a swarm of coding agents in sandboxes";

    package = lib.mkOption {
      type = lib.types.package;
      description = "The program; packages.<system>.hyperhive of this flake (?dir=nix).";
    };

    home = lib.mkOption {
      type = lib.types.path;
      default = "/var/lib/hyperhive";
      description = "Everything of this hive lies below it.";
    };

    adminGroup = lib.mkOption {
      type = lib.types.str;
      default = "hive";
      description = "Who is in this group may use the admin socket, and so the hive command.";
    };

    environmentFile = lib.mkOption {
      type = lib.types.nullOr lib.types.path;
      default = null;
      description = ''
        A file with ANTHROPIC_API_KEY or CLAUDE_CODE_OAUTH_TOKEN, outside of the store, which
        everybody can read. Not needed when `hive model` has been given a credential.
      '';
    };

    settings = lib.mkOption {
      type = toml.type;
      default = { };
      description = "hive.toml: docs/generated/settings.md has every key.";
    };
  };

  config = lib.mkIf cfg.enable {
    services.hyperhive.settings = {
      builder = lib.mkDefault "nix";
      admin_group = lib.mkDefault cfg.adminGroup;
      # NixOS has no /usr to look at and no Debian to bootstrap.
      sandbox = lib.mkDefault "host";
    };

    users.groups.${cfg.adminGroup} = { };
    environment.systemPackages = [ cfg.package ];

    systemd.services.hyperhive = {
      description = "hyperhive";
      wantedBy = [ "multi-user.target" ];
      after = [ "network.target" "nix-daemon.socket" ];
      path = [ config.nix.package ] ++ (with pkgs; [ bash bubblewrap git python3 ]);
      environment.HIVE_HOME = cfg.home;
      preStart = ''
        install -d -m 0711 ${lib.escapeShellArg cfg.home}
        install -m 0600 ${settings} ${lib.escapeShellArg cfg.home}/hive.toml
      '';
      serviceConfig = {
        ExecStart = "${cfg.package}/bin/hive up";
        EnvironmentFile = lib.mkIf (cfg.environmentFile != null) cfg.environmentFile;
        Restart = "on-failure";
        # Agents outlive the daemon and are adopted again by the next one.
        KillMode = "process";
        Delegate = true;
        UMask = "0077";
      };
    };
  };
}
