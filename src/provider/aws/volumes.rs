//! CreateVolume, DescribeVolumes, ModifyVolume, DeleteVolume.

use aws_sdk_ec2::operation::create_volume::builders::CreateVolumeFluentBuilder;
use aws_sdk_ec2::types as sdk;

use super::call::{Failed, pages, send};
use super::client::Cloud;
use super::views;
use crate::provider::types::{
    CreateVolume, Filter, ModifyVolume, ProviderError, ProviderErrorKind, VolumeId, VolumeView,
};

/// Most values of one filter ("Describe… Filters": 200).
pub(super) const FILTER_VALUES: usize = 200;
/// Most results of one page (DescribeVolumes: 500; the others take as many or more).
pub(super) const PAGE: i32 = 500;

/// The filters of a request, split so that none has too many values. An id that does not exist is
/// no error in a filter, as it is in a list of ids.
pub(super) fn filters(id_filter: &str, filter: &Filter) -> Vec<Vec<sdk::Filter>> {
    let keys =
        filter.tag_keys.iter().map(|key| sdk::Filter::builder().name("tag-key").values(escaped(key)).build());
    let tags: Vec<sdk::Filter> = filter
        .tags
        .iter()
        .map(|(key, value)| sdk::Filter::builder().name(format!("tag:{key}")).values(escaped(value)).build())
        .chain(keys)
        .collect();
    if filter.ids.is_empty() {
        return vec![tags];
    }
    let ids: Vec<&String> = filter.ids.iter().collect();
    ids.chunks(FILTER_VALUES)
        .map(|ids| {
            let values = ids.iter().map(|id| (*id).clone()).collect();
            let by_id = sdk::Filter::builder().name(id_filter).set_values(Some(values)).build();
            tags.iter().cloned().chain([by_id]).collect()
        })
        .collect()
}

/// A filter's value that stands for itself: `*`, `?` and `\` have a meaning there.
fn escaped(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    for c in value.chars() {
        if matches!(c, '*' | '?' | '\\') {
            text.push('\\');
        }
        text.push(c);
    }
    text
}

/// EC2's whole numbers are signed and of 32 bits.
pub(super) fn signed(value: u64, name: &str, operation: &'static str) -> Result<i32, ProviderError> {
    i32::try_from(value).map_err(|_| {
        ProviderError::new(
            operation,
            ProviderErrorKind::InvalidParameter,
            "InvalidParameterValue",
            format!("{name} is {value}, which is more than EC2 can be told"),
        )
    })
}

fn small(value: Option<u32>, name: &str, operation: &'static str) -> Result<Option<i32>, ProviderError> {
    value.map(|value| signed(value.into(), name, operation)).transpose()
}

/// The parameters of a new volume.
pub(super) fn volume(
    call: CreateVolumeFluentBuilder,
    request: &CreateVolume,
) -> Result<CreateVolumeFluentBuilder, ProviderError> {
    const OPERATION: &str = "CreateVolume";
    let tags = views::tag_specification(sdk::ResourceType::Volume, &request.tags);
    Ok(call
        .client_token(&request.token.0)
        .availability_zone(&request.zone)
        .size(signed(request.size, "the size in GiB", OPERATION)?)
        .volume_type(views::volume_type(request.volume_type))
        .set_iops(small(request.iops, "iops", OPERATION)?)
        .set_throughput(small(request.throughput, "throughput", OPERATION)?)
        .set_encrypted(request.encrypted)
        .set_kms_key_id(request.kms_key_id.clone())
        .set_tag_specifications(tags.map(|tags| vec![tags])))
}

impl Cloud {
    pub(super) async fn create_volume(&self, request: &CreateVolume) -> Result<VolumeView, ProviderError> {
        let call = volume(self.ec2().await?.create_volume(), request)?;
        let made = send!("CreateVolume", call)?;
        let view = views::created(&made)?;
        self.fresh.note(&view.id.0);
        Ok(view)
    }

    pub(super) async fn describe_volumes(&self, filter: &Filter) -> Result<Vec<VolumeView>, ProviderError> {
        let ec2 = self.ec2().await?;
        let mut found: Vec<sdk::Volume> = Vec::new();
        for filters in filters("volume-id", filter) {
            let call = ec2.describe_volumes().set_filters(Some(filters)).max_results(PAGE);
            found.extend(pages!("DescribeVolumes", call, volumes));
        }
        found.iter().map(views::volume).collect()
    }

    /// One volume, when it exists.
    pub(super) async fn volume(&self, id: &VolumeId) -> Result<Option<VolumeView>, ProviderError> {
        Ok(self.describe_volumes(&Filter::id(id)).await?.pop())
    }

    pub(super) async fn modify_volume(
        &self,
        id: &VolumeId,
        request: &ModifyVolume,
    ) -> Result<(), ProviderError> {
        const OPERATION: &str = "ModifyVolume";
        if *request == ModifyVolume::default() {
            return match self.volume(id).await? {
                Some(_) => Ok(()),
                None => Err(not_found(OPERATION, id)),
            };
        }
        let ec2 = self.ec2().await?;
        let call = ec2
            .modify_volume()
            .volume_id(&id.0)
            .set_size(request.size.map(|size| signed(size, "the size in GiB", OPERATION)).transpose()?)
            .set_volume_type(request.volume_type.map(views::volume_type))
            .set_iops(small(request.iops, "iops", OPERATION)?)
            .set_throughput(small(request.throughput, "throughput", OPERATION)?);
        let modified =
            self.fresh.settled(&[&id.0], || async { send!("ModifyVolume", call.clone()).map(drop) }).await;
        let Err(failed) = modified else { return Ok(()) };
        // One change at a time, and four in 24 hours: an attempt whose reply was lost forbids the next.
        if !may_be_done(&failed) && !failed.is("VolumeModificationRateExceeded") {
            return Err(failed.into());
        }
        match self.volume(id).await {
            Ok(Some(view)) if is_so(&view, request) => Ok(()),
            _ => Err(failed.into()),
        }
    }

    pub(super) async fn delete_volume(&self, id: &VolumeId) -> Result<(), ProviderError> {
        let ec2 = self.ec2().await?;
        let call = ec2.delete_volume().volume_id(&id.0);
        self.fresh.settled_or_gone(&id.0, || async { send!("DeleteVolume", call.clone()).map(drop) }).await?;
        Ok(())
    }
}

/// Whether a volume is what a change makes of it.
fn is_so(view: &VolumeView, request: &ModifyVolume) -> bool {
    fn same<T: PartialEq>(wanted: Option<T>, is: Option<T>) -> bool {
        wanted.is_none() || wanted == is
    }
    same(request.size, Some(view.size))
        && same(request.volume_type, Some(view.volume_type))
        && same(request.iops, view.iops)
        && same(request.throughput, view.throughput)
}

/// What EC2 says of a volume that it does not know.
pub(super) fn not_found(operation: &'static str, id: &VolumeId) -> ProviderError {
    ProviderError::new(
        operation,
        ProviderErrorKind::NotFound,
        "InvalidVolume.NotFound",
        format!("The volume '{id}' does not exist."),
    )
}

/// A failed call that found something in the way that may be its own earlier effect.
pub(super) fn may_be_done(failed: &Failed) -> bool {
    failed.is_unknown || failed.error.kind == ProviderErrorKind::IncorrectState
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::types::TagMap;

    #[test]
    fn filters_are_split_and_say_what_they_mean() {
        let filter = Filter {
            ids: (0..450).map(|n| format!("vol-{n:017x}")).collect(),
            tags: TagMap::from([("a".to_owned(), "1*?\\".to_owned())]),
            ..Filter::default()
        };
        let made = filters("volume-id", &filter);
        assert_eq!(made.len(), 3);
        let sizes: Vec<usize> = made.iter().map(|filters| filters[1].values().len()).collect();
        assert_eq!(sizes, [200, 200, 50]);
        assert_eq!(
            (made[0][0].name(), made[0][0].values()),
            (Some("tag:a"), &["1\\*\\?\\\\".to_owned()][..])
        );
        assert_eq!(filters("volume-id", &Filter::default()), vec![Vec::new()]);
    }
}
