//! `shardforge config show` and `check`.

use std::process::ExitCode;

use super::{CommandError, load, settings};
use crate::cli::ConfigCommand;
use crate::telemetry;

pub fn run(command: &ConfigCommand) -> Result<ExitCode, CommandError> {
    match command {
        ConfigCommand::Show(args) => {
            let settings = settings(&args.settings)?;
            let width = |text: fn(&crate::config::Setting) -> &str| {
                settings.iter().map(|setting| text(setting).chars().count()).max().unwrap_or(0)
            };
            let (keys, values) = (width(|setting| setting.key), width(|setting| &setting.value));
            for setting in settings.iter() {
                println!("{:keys$}  {:values$}  {}", setting.key, setting.value, setting.source);
            }
        }
        ConfigCommand::Check(args) => {
            let (settings, config) = load(&args.settings)?;
            telemetry::check(&config.log)?;
            for name in &settings.unknown_variables {
                eprintln!("warning: the variable {name} sets nothing");
            }
            println!("the configuration is valid");
        }
    }
    Ok(ExitCode::SUCCESS)
}
